-- What the process that died had out goes to the end of its queue, and the delivery is counted.
INSERT INTO messages (place, message_id, attempt, traceparent, redeliveries, body)
SELECT
    last + row_number() OVER (PARTITION BY id ORDER BY place),
    message_id, attempt, traceparent, redeliveries + 1, body
FROM queue_ends CROSS JOIN messages ON place > (id << 40) AND place <= taken;

DELETE FROM messages
WHERE place IN (SELECT place FROM queues CROSS JOIN messages ON place > (id << 40) AND place <= taken);
