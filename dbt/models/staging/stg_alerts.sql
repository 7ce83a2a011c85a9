with

source as (

    select * from {{ source('gold', 'alerts') }}

),

-- delivered at least once: the first delivery counts
numbered as (

    select
        *,
        row_number() over (partition by alert_id order by alerted_at) as delivery
    from source

),

renamed as (

    select

        -- keys
        alert_id,
        rule_id,
        camera_id,

        -- time
        captured_at,
        alerted_at,
        alert_latency_ms

    from numbered
    where delivery = 1

)

select * from renamed
