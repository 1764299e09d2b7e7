//! The store in Redis: the suite of every store, and what only Redis can do wrong.

use crate::redis_server::RedisServer;

mod conformance {
    crate::store::suite!(crate::redis_server::RedisServer::shared().await.store());
}

#[allow(dead_code)]
fn unused(_: RedisServer) {}
