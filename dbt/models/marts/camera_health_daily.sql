with

health as (

    select * from {{ ref('stg_camera_health') }}

),

daily as (

    select
        camera_id,
        event_date,
        count(distinct session) as sessions,
        min(start_time) as first_frame_at,
        max(end_time) as last_frame_at,
        sum(unix_micros(end_time) - unix_micros(start_time)) / 1e6 as seen_s,
        sum(frames_received) as frames_received,
        sum(frames_expected) as frames_expected,
        sum(detections) as detections,
        sum(late_detections) as late_detections,
        sum(batches_received) as batches_received,
        sum(batches_duplicate) as batches_duplicate,
        sum(batches_missing) as batches_missing,
        sum(batches_late) as batches_late
    from health
    group by camera_id, event_date

),

final as (

    select
        *,
        frames_received / nullif(frames_expected, 0) as completeness
    from daily

)

select * from final
