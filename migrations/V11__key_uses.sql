-- When each pipeline key last sealed or opened a message, by queue: each service writes its own table. An old key that
-- was not used for a while may be retired.
CREATE TABLE gateway_pipeline_uses (
    queue        text NOT NULL,
    key_id       text NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (queue, key_id)
);
CREATE TABLE callback_pipeline_uses (LIKE gateway_pipeline_uses INCLUDING ALL);
CREATE TABLE executor_pipeline_uses (LIKE gateway_pipeline_uses INCLUDING ALL);

GRANT SELECT, INSERT, UPDATE ON gateway_pipeline_uses TO fiatrails_gateway;
GRANT SELECT, INSERT, UPDATE ON callback_pipeline_uses TO fiatrails_callback;
GRANT SELECT, INSERT, UPDATE ON executor_pipeline_uses TO fiatrails_executor;
GRANT SELECT ON gateway_pipeline_uses, callback_pipeline_uses, executor_pipeline_uses TO fiatrails_ops;
