-- Received conversions, not attributed ones. Where user_id_type is NULL, Amazon found no identity.
SELECT DATE_TRUNC('day', event_dt_hour_utc) AS day_utc, conversion_event_source_name,
  conversion_event_name, user_id_type,
  SUM(conversions) AS conversions, SUM(off_amazon_product_sales) AS sales
FROM conversions
WHERE event_category = 'off-Amazon'
  AND conversion_event_name IN (:names)
GROUP BY 1, 2, 3, 4
