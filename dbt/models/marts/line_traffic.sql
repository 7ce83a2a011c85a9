with

crossings as (

    select * from {{ ref('stg_line_crossings') }}

),

final as (

    select

        -- keys
        camera_id,
        line,
        direction,
        class_name,
        minute_start,

        -- traffic
        count(*) as crossings

    from crossings
    group by camera_id, line, direction, class_name, minute_start

)

select * from final
