with

events as (

    select * from {{ ref('stg_scene_events') }}

),

final as (

    select

        -- keys
        camera_id,
        hour_start,
        kind,

        -- events
        count(*) as events,
        count(distinct zone) as zones,
        min(started_at) as first_started_at,
        max(started_at) as last_started_at

    from events
    group by camera_id, hour_start, kind

)

select * from final
