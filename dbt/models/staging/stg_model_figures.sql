with

source as (

    select * from {{ source('gold', 'model_figures') }}

),

-- reports are delivered at least once: a repetition is one row
numbered as (

    select
        *,
        row_number() over (
            partition by node_id, slot, model_name, model_version, reported_at
            order by from_at
        ) as repetition
    from source

),

renamed as (

    select

        -- keys
        node_id,
        site,
        slot,
        model_name,
        model_version,
        reported_at,

        -- time
        date_trunc('hour', from_at) as hour_start,

        -- figures
        frames,
        errors,
        detections,
        score_counts,
        latency_counts,

        -- agreement of the shadow
        matched,
        only_live,
        only_shadow

    from numbered
    where repetition = 1

)

select * from renamed
