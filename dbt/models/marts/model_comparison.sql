with

figures as (

    select * from {{ ref('stg_model_figures') }}

),

received as (

    select * from {{ ref('stg_model_detections') }}

),

began as (

    select * from {{ ref('stg_first_segments') }}

),

sums as (

    select
        model_name,
        model_version,
        hour_start,
        site,
        count(distinct case when slot = 'live' then node_id end) as nodes,
        sum(case when slot = 'live' then frames else 0 end) as frames,
        sum(case when slot = 'live' then errors else 0 end) as errors,
        sum(case when slot = 'live' then detections else 0 end) as detections,
        sum(case when slot = 'shadow' then frames else 0 end) as shadow_frames,
        sum(matched) as seen_by_both,
        sum(matched + only_live + only_shadow) as seen_by_either
    from figures
    group by model_name, model_version, hour_start, site

),

-- live scores and latencies as histograms: a row per bin that has something
score_rows as (

    select
        model_name,
        model_version,
        hour_start,
        site,
        posexplode(score_counts) as (score_bin, detections)
    from figures
    where slot = 'live'

),

scores as (

    select
        model_name,
        model_version,
        hour_start,
        site,
        -- 32 equal bins from 0 to 1, each told by its middle
        sum(detections * (score_bin + 0.5) / 32) / nullif(sum(detections), 0) as mean_score
    from score_rows
    group by model_name, model_version, hour_start, site

),

latency_rows as (

    select
        model_name,
        model_version,
        hour_start,
        site,
        posexplode(latency_counts) as (latency_bin, inferences)
    from figures
    where slot = 'live'

),

latency_bins as (

    select
        model_name,
        model_version,
        hour_start,
        site,
        latency_bin,
        sum(inferences) as inferences
    from latency_rows
    where inferences > 0
    group by model_name, model_version, hour_start, site, latency_bin

),

latency_ranks as (

    select
        model_name,
        model_version,
        hour_start,
        site,
        -- upper edge of the bin, ms: 40 bins a decade from 0.01 ms to 10 s
        power(10, least(latency_bin, 240) / 40 - 2) as edge_ms,
        sum(inferences) over (
            partition by model_name, model_version, hour_start, site
            order by latency_bin
        ) / sum(inferences) over (
            partition by model_name, model_version, hour_start, site
        ) as reached
    from latency_bins

),

latencies as (

    select
        model_name,
        model_version,
        hour_start,
        site,
        min(case when reached >= 0.5 then edge_ms end) as latency_ms_p50,
        min(case when reached >= 0.95 then edge_ms end) as latency_ms_p95
    from latency_ranks
    group by model_name, model_version, hour_start, site

),

node_sites as (

    select
        node_id,
        max_by(site, reported_at) as site
    from figures
    group by node_id

),

received_sums as (

    select
        received.model_name,
        received.model_version,
        received.hour_start,
        node_sites.site,
        sum(received.frames_received) as frames_received,
        sum(received.detections_received) as detections_received
    from received
    inner join node_sites
        on received.node_id = node_sites.node_id
    group by received.model_name, received.model_version, received.hour_start, node_sites.site

),

-- a camera's tracks count for the site of the node that sends its detections
camera_rows as (

    select
        model_name,
        model_version,
        hour_start,
        node_id,
        explode(cameras) as camera_id
    from received

),

cameras as (

    select distinct
        camera_rows.model_name,
        camera_rows.model_version,
        camera_rows.hour_start,
        node_sites.site,
        camera_rows.camera_id
    from camera_rows
    inner join node_sites
        on camera_rows.node_id = node_sites.node_id

),

tracks as (

    select
        cameras.model_name,
        cameras.model_version,
        cameras.hour_start,
        cameras.site,
        count(distinct began.track_id) as tracks
    from cameras
    left join began
        on
            cameras.camera_id = began.camera_id
            and cameras.model_version = began.model_version
            and cameras.hour_start = began.hour_start
    group by cameras.model_name, cameras.model_version, cameras.hour_start, cameras.site

),

final as (

    select

        -- keys
        sums.model_name,
        sums.model_version,
        sums.hour_start,
        sums.site,

        -- how much is behind the figures
        sums.nodes,
        sums.frames,
        sums.detections,
        sums.shadow_frames,

        -- on the nodes
        sums.detections / nullif(sums.frames, 0) as detections_per_frame,
        scores.mean_score,
        latencies.latency_ms_p50,
        latencies.latency_ms_p95,
        sums.errors / nullif(sums.frames + sums.errors, 0) as errors_per_frame,
        sums.seen_by_both / nullif(sums.seen_by_either, 0) as agreement,

        -- as it reached the centre, and what the tracker made of it
        -- of the frames that the nodes analysed: a frame that never came is one without detections
        received_sums.detections_received
        / nullif(greatest(sums.frames, received_sums.frames_received), 0) as received_per_frame,
        tracks.tracks

    from sums
    left join scores
        on
            sums.model_name = scores.model_name
            and sums.model_version = scores.model_version
            and sums.hour_start = scores.hour_start
            and sums.site = scores.site
    left join latencies
        on
            sums.model_name = latencies.model_name
            and sums.model_version = latencies.model_version
            and sums.hour_start = latencies.hour_start
            and sums.site = latencies.site
    left join received_sums
        on
            sums.model_name = received_sums.model_name
            and sums.model_version = received_sums.model_version
            and sums.hour_start = received_sums.hour_start
            and sums.site = received_sums.site
    left join tracks
        on
            sums.model_name = tracks.model_name
            and sums.model_version = tracks.model_version
            and sums.hour_start = tracks.hour_start
            and sums.site = tracks.site

)

select * from final
