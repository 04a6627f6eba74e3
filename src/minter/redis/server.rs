//! Connections to a Redis server, kept open; and what its errors mean to whoever called.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::minter::MintError;

/// Most connections at once.
const CONNECTIONS: usize = 16;
/// Longest wait for a connection, its login included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A server.
pub(super) struct Server {
    client: Client,
    config: AsyncConnectionConfig,
    idle: Mutex<Vec<MultiplexedConnection>>,
    slots: Semaphore,
}

impl Server {
    /// One that nobody has connected to yet.
    pub(super) fn new(client: Client) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        Self { client, config, idle: Mutex::default(), slots: Semaphore::new(CONNECTIONS) }
    }

    /// A connection that nobody else has, and what it answers first. One that was kept and is gone by now, as after a restart of
    /// the server, is replaced: each of our first questions may be asked twice.
    pub(super) async fn ask<T: FromRedisValue>(&self, first: &Pipeline) -> Result<(Session<'_>, T), MintError> {
        let permit = tokio::time::timeout(CONNECT_TIMEOUT, self.slots.acquire()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(MintError::Unreached("all connections to it are in use".to_owned()));
        };
        let kept = self.idle().pop();
        if let Some(mut connection) = kept {
            match first.query_async(&mut connection).await {
                Ok(answer) => return Ok((Session { server: self, connection, _permit: permit }, answer)),
                Err(error) if error.is_connection_dropped() => self.idle().clear(),
                Err(error) => return Err(failed(&error)),
            }
        }
        let fresh = self.client.get_multiplexed_async_connection_with_config(&self.config).await;
        let mut connection = fresh.map_err(|error| meant(&error, MintError::Unreached))?;
        let answer = first.query_async(&mut connection).await.map_err(|error| failed(&error))?;
        Ok((Session { server: self, connection, _permit: permit }, answer))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection while somebody uses it; closed when it is dropped.
pub(super) struct Session<'a> {
    server: &'a Server,
    connection: MultiplexedConnection,
    _permit: SemaphorePermit<'a>,
}

impl Session<'_> {
    /// Ask something more.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> Result<T, MintError> {
        pipeline.query_async(&mut self.connection).await.map_err(|error| failed(&error))
    }

    /// Keep the connection for whoever comes next.
    pub(super) fn keep(self) {
        self.server.idle().push(self.connection);
    }
}

/// What an error means, when the server may have acted. No value of ours is in its text.
pub(super) fn failed(error: &RedisError) -> MintError {
    meant(error, MintError::Unavailable)
}

/// What an error means; what passes by itself is `passing`.
pub(super) fn meant(error: &RedisError, passing: fn(String) -> MintError) -> MintError {
    const PASSING: [&str; 9] =
        ["BUSY", "CLUSTERDOWN", "EXECABORT", "LOADING", "MASTERDOWN", "MISCONF", "OOM", "READONLY", "TRYAGAIN"];
    let text = error.to_string();
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
        | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => {
            MintError::Misconfigured(format!("{text}; `hallpass doctor` says which rights the broker's user lacks"))
        }
        (ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported, _) => MintError::Misconfigured(text),
        (_, Some(code)) if !PASSING.contains(&code) => MintError::Refused(text),
        (_, Some(_) | None) => passing(text),
    }
}
