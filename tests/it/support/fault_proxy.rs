//! A TCP proxy that misbehaves on demand: it delays, throttles, splits writes, swallows everything, half-closes and resets,
//! and it can cut a connection after a certain message of a PostgreSQL client. On loopback only, and told what to do while it
//! runs; the kernel needs to know nothing of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const BUFFER_BYTES: usize = 16 * 1024;

/// How bytes travel now, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Travel {
    /// Each piece waits so long.
    pub(crate) delay: Duration,
    /// Bytes a second and direction; 0 is as fast as they come.
    pub(crate) bytes_per_second: u32,
    /// A piece has at most so many bytes; 0 is as they come.
    pub(crate) piece_bytes: usize,
    /// Nothing travels, and nobody is told: a black hole.
    pub(crate) black_hole: bool,
    /// New connections are closed at once.
    pub(crate) refuse: bool,
}

/// Which message of a PostgreSQL client ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After the k-th message from now, counted from 1, of any connection: the server has it, the client hears no answer.
    AfterMessage(usize),
    /// At the next COMMIT: the server never sees it and rolls back; the client does not know.
    BeforeCommit,
    /// At the next COMMIT: the server has answered it, and the client does not hear that.
    AfterCommit,
}

/// How connections end at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    /// Reset both sides.
    Reset,
    /// Tell the client that nothing more comes, and go on listening to it.
    HalfClose,
}

/// What every connection looks at.
#[derive(Debug, Clone, Copy)]
struct Orders {
    travel: Travel,
    /// Changes with each order to end connections.
    ended: (u64, End),
}

struct Shared {
    orders: watch::Sender<Orders>,
    cut: Mutex<Option<Cut>>,
    /// How many cuts were made.
    cuts: watch::Sender<usize>,
}

/// A proxy in front of one address.
pub(crate) struct FaultProxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.end(End::Reset);
    }
}

impl FaultProxy {
    /// In front of `upstream`; everything passes unharmed until it is told otherwise.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let orders = Orders { travel: Travel::default(), ended: (0, End::No) };
        let shared =
            Arc::new(Shared { orders: watch::Sender::new(orders), cut: Mutex::default(), cuts: watch::Sender::new(0) });
        let accepting = tokio::spawn(accept(listener, upstream, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// From now on bytes travel so, on every connection.
    pub(crate) fn set(&self, travel: Travel) {
        self.shared.orders.send_modify(|orders| orders.travel = travel);
    }

    /// Let everything pass again. Connections that ended stay so.
    pub(crate) fn mend(&self) {
        self.set(Travel::default());
        *self.shared.cut.lock().unwrap() = None;
    }

    /// Reset every connection there is.
    pub(crate) fn reset_all(&self) {
        self.end(End::Reset);
    }

    /// Tell every client that nothing more comes, without closing.
    pub(crate) fn half_close_all(&self) {
        self.end(End::HalfClose);
    }

    fn end(&self, how: End) {
        self.shared.orders.send_modify(|orders| orders.ended = (orders.ended.0 + 1, how));
    }

    /// Cut one connection of a PostgreSQL client, once. It must not be encrypted, or its messages cannot be told apart.
    pub(crate) fn cut(&self, cut: Cut) {
        *self.shared.cut.lock().unwrap() = Some(cut);
    }

    /// Wait until so many connections were cut.
    pub(crate) async fn cuts(&self, count: usize) {
        self.shared.cuts.subscribe().wait_for(|cuts| *cuts >= count).await.unwrap();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.orders.borrow().travel.refuse {
            reset(&client);
            continue;
        }
        tokio::spawn(serve(client, upstream, Arc::clone(&shared)));
    }
}

/// A socket that is dropped after this sends RST.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// Why a connection must be reset.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

async fn serve(client: TcpStream, upstream: SocketAddr, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return reset(&client) };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let swallow = AtomicBool::new(false);
    let before = shared.orders.borrow().ended.0;
    let over = {
        let up = upward(&mut from_client, &mut to_server, &shared, &swallow);
        let down = downward(&mut from_server, &mut to_client, &shared, &swallow, before);
        tokio::select! {
            biased;
            () = shared.ordered(before, End::Reset) => Err(Broken),
            over = async { tokio::try_join!(up, down) } => over.map(drop),
        }
    };
    for (read, write) in [(from_client, to_client), (from_server, to_server)] {
        let stream = read.reunite(write).unwrap();
        if over.is_err() {
            reset(&stream);
        }
    }
}

/// From the client to the server.
async fn upward(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    swallow: &AtomicBool,
) -> Result<(), Broken> {
    let mut messages = Messages::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        let bytes = &buffer[..read];
        for (end, commit) in messages.read(bytes) {
            match shared.due_cut(commit) {
                None => {}
                Some(Cut::BeforeCommit) => {
                    shared.cuts.send_modify(|cuts| *cuts += 1);
                    return Err(Broken);
                }
                // The answer is read and thrown away, so that the server has certainly done its part.
                Some(Cut::AfterCommit | Cut::AfterMessage(_)) => {
                    swallow.store(true, Ordering::SeqCst);
                    to.write_all(&bytes[..end]).await?;
                    // What comes after is not sent; the answer ends the connection.
                    std::future::pending::<()>().await;
                }
            }
        }
        shared.travel(bytes, to).await?;
    }
}

/// From the server to the client.
async fn downward(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    swallow: &AtomicBool,
    before: u64,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut closed = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            () = shared.ordered(before, End::HalfClose), if !closed => {
                to.shutdown().await?;
                closed = true;
                continue;
            }
        };
        if swallow.load(Ordering::SeqCst) {
            shared.cuts.send_modify(|cuts| *cuts += 1);
            return Err(Broken);
        }
        if read == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        if !closed {
            shared.travel(&buffer[..read], to).await?;
        }
    }
}

impl Shared {
    /// Done when connections that were there at `before` are to end so.
    async fn ordered(&self, before: u64, how: End) {
        let mut orders = self.orders.subscribe();
        let ordered = orders.wait_for(|orders| orders.ended.0 > before && orders.ended.1 == how).await.map(drop);
        if ordered.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Hand bytes on as they are to travel now.
    async fn travel(&self, bytes: &[u8], to: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut orders = self.orders.subscribe();
            let Ok(travel) = orders.wait_for(|orders| !orders.travel.black_hole).await.map(|orders| orders.travel)
            else {
                return Ok(());
            };
            let whole = if travel.piece_bytes == 0 { rest.len() } else { travel.piece_bytes.min(rest.len()) };
            let (piece, later) = rest.split_at(whole);
            let takes = match travel.bytes_per_second {
                0 => Duration::ZERO,
                rate => Duration::from_secs(u64::try_from(piece.len()).unwrap()) / rate,
            };
            pause(travel.delay + takes).await;
            to.write_all(piece).await?;
            rest = later;
        }
        Ok(())
    }

    /// Whether this message, a COMMIT or not, is the one to cut at.
    fn due_cut(&self, commit: bool) -> Option<Cut> {
        let mut ordered = self.cut.lock().unwrap();
        let due = match ordered.as_mut()? {
            Cut::AfterMessage(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Cut::BeforeCommit | Cut::AfterCommit => commit,
        };
        if due { ordered.take() } else { None }
    }
}

async fn pause(length: Duration) {
    if !length.is_zero() {
        let _ = tokio::time::timeout(length, std::future::pending::<()>()).await;
    }
}

/// Finds the messages in what a PostgreSQL client sends: one without a type to begin with (two, when it asks for encryption
/// and is told no), then a type, a length and a body each.
#[derive(Default)]
struct Messages {
    started: bool,
    pending: Vec<u8>,
}

impl Messages {
    /// Where in these bytes a message ends, and whether it is a COMMIT.
    fn read(&mut self, bytes: &[u8]) -> Vec<(usize, bool)> {
        let mut ends = Vec::new();
        for (place, byte) in bytes.iter().enumerate() {
            self.pending.push(*byte);
            let head = usize::from(self.started);
            let Some(length) = self.pending.get(head..head + 4) else { continue };
            let length = usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
            if self.pending.len() < head + length {
                continue;
            }
            // 80877103 asks for encryption; after a no, the start comes.
            let asks_for_encryption = !self.started && self.pending[4..] == 80_877_103_u32.to_be_bytes();
            ends.push((place + 1, self.started && is_commit(&self.pending)));
            self.started |= !asks_for_encryption;
            self.pending.clear();
        }
        ends
    }
}

/// A simple query (`Q`) or the parse of a prepared one (`P`, after its name) with this text.
fn is_commit(message: &[u8]) -> bool {
    let text = match message[0] {
        b'Q' => &message[5..],
        b'P' => match message[5..].iter().position(|byte| *byte == 0) {
            Some(end) => &message[5 + end + 1..],
            None => return false,
        },
        _ => return false,
    };
    text.len() >= 6 && text[..6].eq_ignore_ascii_case(b"COMMIT")
}
