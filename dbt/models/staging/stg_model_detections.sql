with

source as (

    select * from {{ source('gold', 'model_detections') }}

),

renamed as (

    select

        -- keys
        node_id,
        model_name,
        model_version,
        window_start,

        -- time
        date_trunc('hour', window_start) as hour_start,

        -- what reached the centre
        cameras,
        frames as frames_received,
        detections as detections_received

    from source

)

select * from renamed
