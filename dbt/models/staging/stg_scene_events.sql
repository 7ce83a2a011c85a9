with

source as (

    select * from {{ source('silver', 'scene_events') }}

),

renamed as (

    select

        -- keys
        event_id,
        camera_id,

        -- what happened, and where
        kind,
        zone,
        rule,
        class_name,

        -- time
        started_at,
        detected_at,
        date_trunc('hour', started_at) as hour_start,

        -- how bad
        value,
        rule_limit,
        unit

    from source

)

select * from renamed
