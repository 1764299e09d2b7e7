//! The TCP connection under an AMQP connection, with a way to end it for sure.
//!
//! lapin has a thread per connection that lives as long as its socket: through a handshake that nobody waits for any
//! more, and through a `close` that cannot be sent because the broker has blocked us. So each socket is tied to a
//! [`Cord`]; when that is dropped, the socket is shut down and the thread ends, whatever the peer does.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

use super::settings::AmqpSettings;

/// Ends a socket when it is dropped.
#[derive(Debug)]
pub(super) struct Cord(Arc<Mutex<End>>);

#[derive(Debug)]
enum End {
    /// There is no socket yet.
    Unborn,
    /// A second handle of the socket.
    Held(TcpStream),
    /// Cut: a socket that appears now is not wanted.
    Cut,
}

impl Drop for Cord {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut *lock(&self.0), End::Cut);
        if let End::Held(socket) = end {
            // It fails if the peer was first, which is just as well.
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

fn lock(end: &Mutex<End>) -> std::sync::MutexGuard<'_, End> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a second handle of the socket, unless it is not wanted any more.
fn hold(end: &Mutex<End>, socket: std::os::fd::BorrowedFd<'_>) -> std::io::Result<()> {
    let second = TcpStream::from(socket.try_clone_to_owned()?);
    let mut end = lock(end);
    if matches!(*end, End::Cut) {
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    *end = End::Held(second);
    Ok(())
}

/// Connects, within the time that the settings allow. Being dropped, it leaves nothing behind.
///
/// lapin's own recovery stays off: once its attempts are used up it ends without telling anybody, and with it on, a
/// channel error leaves consumers waiting for ever instead of ending them. Plain connections fail crisply.
pub(super) async fn connect(settings: &AmqpSettings, name: &str) -> Result<(Connection, Cord), ConnectError> {
    let tls = OwnedTLSConfig {
        identity: None,
        cert_chain: match &settings.ca_file {
            Some(path) => Some(tokio::fs::read_to_string(path).await.map_err(ConnectError::Certificates)?),
            None => None,
        },
    };
    let cord = Cord(Arc::new(Mutex::new(End::Unborn)));
    let end = Arc::clone(&cord.0);
    let deadline = settings.connect_timeout;
    let open = Connection::connector(
        settings.uri(),
        lapin::runtime::default_runtime()?,
        async move |uri, runtime| {
            let connect = AMQPUriTcpExt::connect_with_config_async(&uri, tls.as_ref(), &runtime);
            let stream = within(deadline, connect).await?;
            let tied = match &stream {
                AsyncTcpStream::Plain(plain) => hold(&end, plain.get_ref().as_fd()),
                AsyncTcpStream::Rustls(tls) => hold(&end, tls.get_ref().0.get_ref().as_fd()),
                // lapin is built with rustls alone. A stranger could not be cut off, so it is not let in.
                _ => Err(std::io::ErrorKind::Unsupported.into()),
            };
            tied?;
            Ok(stream)
        },
        ConnectionProperties::default().with_connection_name(name.into()),
    );
    match tokio::time::timeout(deadline, open).await {
        Ok(connection) => Ok((connection?, cord)),
        Err(_) => Err(ConnectError::Silent(deadline)),
    }
}

async fn within<T>(deadline: Duration, connect: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    match tokio::time::timeout(deadline, connect).await {
        Ok(connected) => connected,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the certificates in ca_file cannot be read: {0}")]
    Certificates(std::io::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
}
