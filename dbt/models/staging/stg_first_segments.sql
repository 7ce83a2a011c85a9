with

source as (

    select * from {{ source('silver', 'track_segments') }}

),

renamed as (

    select

        -- keys
        track_id,
        camera_id,
        model_version,

        -- time
        date_trunc('hour', start_time) as hour_start

    from source
    where first_segment

)

select * from renamed
