with

source as (

    select * from {{ source('silver', 'line_crossings') }}

),

renamed as (

    select

        -- keys
        crossing_id,
        camera_id,

        -- what crossed, and where
        class_name,
        line,
        direction,

        -- time
        crossed_at,
        date_trunc('minute', crossed_at) as minute_start

    from source

)

select * from renamed
