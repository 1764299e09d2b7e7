-- What the process that died had out goes to the end of its queue, and the delivery is counted.
INSERT INTO messages (queue, number, message_id, attempt, traceparent, redeliveries, body)
SELECT
    queue, last + row_number() OVER (PARTITION BY queue ORDER BY number),
    message_id, attempt, traceparent, redeliveries + 1, body
FROM queue_ends CROSS JOIN messages ON queue = id AND number <= taken;

DELETE FROM messages
WHERE (queue, number) IN (SELECT queue, number FROM queues CROSS JOIN messages ON queue = id AND number <= taken);
