//! The promises of the product, each a test that runs the real services over real PostgreSQL, RabbitMQ and anvil.
