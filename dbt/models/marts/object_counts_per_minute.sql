with

windows as (

    select * from {{ ref('stg_object_counts') }}

),

-- frames are the camera's: every class of a window repeats them
window_frames as (

    select
        camera_id,
        session,
        window_start,
        minute_start,
        max(frames_received) as frames_received,
        max(frames_expected) as frames_expected
    from windows
    group by camera_id, session, window_start, minute_start

),

frames as (

    select
        camera_id,
        minute_start,
        sum(frames_received) as frames_received,
        sum(frames_expected) as frames_expected
    from window_frames
    group by camera_id, minute_start

),

objects as (

    select
        camera_id,
        minute_start,
        class_name,
        max(objects) as peak_objects,
        sum(new_objects) as new_objects,
        sum(detections) as detections,
        sum(late_detections) as late_detections
    from windows
    group by camera_id, minute_start, class_name

),

final as (

    select

        -- keys
        objects.camera_id,
        objects.minute_start,
        objects.class_name,

        -- objects
        objects.peak_objects,
        objects.new_objects,
        objects.detections,
        objects.late_detections,

        -- how far the figures can be trusted
        frames.frames_received,
        frames.frames_expected,
        frames.frames_received / nullif(frames.frames_expected, 0) as completeness

    from objects
    inner join frames
        on
            objects.camera_id = frames.camera_id
            and objects.minute_start = frames.minute_start

)

select * from final
