with

alerts as (

    select * from {{ ref('stg_alerts') }}

),

final as (

    select

        -- keys
        camera_id,
        rule_id,

        -- alerts
        count(*) as alerts,
        min(captured_at) as first_captured_at,
        max(captured_at) as last_captured_at,

        -- latency
        percentile(alert_latency_ms, 0.5) as latency_ms_p50,
        percentile(alert_latency_ms, 0.95) as latency_ms_p95,
        max(alert_latency_ms) as latency_ms_max

    from alerts
    group by camera_id, rule_id

)

select * from final
