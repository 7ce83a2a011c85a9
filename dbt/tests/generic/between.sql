{#- Fails with every row whose value lies outside minimum..maximum; a missing value passes. -#}
{% test between(model, column_name, minimum, maximum) %}
select *
from {{ model }}
where {{ column_name }} < {{ minimum }} or {{ column_name }} > {{ maximum }}
{% endtest %}
