with

source as (

    select * from {{ source('silver', 'camera_health') }}

),

renamed as (

    select

        -- keys
        camera_id,
        session,
        event_date,

        -- time
        start_time,
        end_time,
        arrived_at,

        -- frames
        frames_received,
        frames_expected,

        -- detections
        detections,
        late_rows as late_detections,

        -- messages
        batches_received,
        batches_duplicate,
        batches_missing,
        batches_late

    from source

)

select * from renamed
