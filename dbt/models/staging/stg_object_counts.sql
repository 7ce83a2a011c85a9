with

source as (

    select * from {{ source('gold', 'object_counts') }}

),

renamed as (

    select

        -- keys
        camera_id,
        session,
        window_start,
        class_name,

        -- time
        date_trunc('minute', window_start) as minute_start,

        -- objects
        objects,
        new_objects,
        detections,
        late_rows as late_detections,

        -- frames
        frames_received,
        frames_expected

    from source

)

select * from renamed
