//! The fault proxy does what it says: a test that relies on a fault must be able to rely on its having happened.

use std::time::Duration;

use hallpass::sys::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::fault_proxy::{Cut, FaultProxy, Travel};

/// A server that says back what it hears, and tells the test.
async fn echo() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read) = stream.read(&mut buffer).await {
                    if read == 0 || heard.send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, hears)
}

async fn answer(stream: &mut TcpStream, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Whether nothing comes for a moment.
async fn silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(80), stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn bytes_pass_delayed_split_throttled_or_not_at_all_as_ordered() {
    let (upstream, _hears) = echo().await;
    let proxy = FaultProxy::start(upstream).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    assert_eq!(answer(&mut client, 5).await.unwrap(), b"hello");

    let took = async |client: &mut TcpStream, bytes: &[u8]| {
        let before = SystemClock.now();
        client.write_all(bytes).await.unwrap();
        assert_eq!(answer(client, bytes.len()).await.unwrap(), bytes);
        SystemClock.now().millis_since(before)
    };
    proxy.set(Travel { delay: Duration::from_millis(60), ..Travel::default() });
    assert!(took(&mut client, b"late").await >= 120, "each way waits");
    proxy.set(Travel { bytes_per_second: 10_000, ..Travel::default() });
    assert!(took(&mut client, &[7; 1000]).await >= 200, "a thousand bytes each way at ten thousand a second");
    proxy.set(Travel { piece_bytes: 1, delay: Duration::from_millis(2), ..Travel::default() });
    assert!(took(&mut client, &[7; 20]).await >= 40, "byte by byte");

    proxy.set(Travel { black_hole: true, ..Travel::default() });
    client.write_all(b"lost?").await.unwrap();
    assert!(silent(&mut client).await);
    proxy.mend();
    assert_eq!(answer(&mut client, 5).await.unwrap(), b"lost?", "held back, not lost");
}

#[tokio::test]
async fn connections_end_as_ordered_and_new_ones_are_refused_as_ordered() {
    let (upstream, mut hears) = echo().await;
    let proxy = FaultProxy::start(upstream).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"a").await.unwrap();
    assert_eq!(answer(&mut client, 1).await.unwrap(), b"a");
    assert_eq!(hears.recv().await.unwrap(), b"a");
    proxy.half_close_all();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "nothing more comes");
    client.write_all(b"still there").await.unwrap();
    assert_eq!(hears.recv().await.unwrap(), b"still there", "but it still listens");

    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"b").await.unwrap();
    assert_eq!(answer(&mut client, 1).await.unwrap(), b"b");
    proxy.reset_all();
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    proxy.set(Travel { refuse: true, ..Travel::default() });
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    assert!(client.read_u8().await.is_err());
    proxy.mend();
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"c").await.unwrap();
    assert_eq!(answer(&mut client, 1).await.unwrap(), b"c");
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// What a PostgreSQL client says first: that it would like encryption, and then who it is.
fn start() -> Vec<u8> {
    let encryption = [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
    [encryption, [12_u32.to_be_bytes(), 196_608_u32.to_be_bytes(), [0; 4]].concat()].concat()
}

#[tokio::test]
async fn a_connection_is_cut_at_a_commit_before_or_after_the_server_has_it() {
    for (cut, reaches) in [(Cut::BeforeCommit, false), (Cut::AfterCommit, true)] {
        let (upstream, mut hears) = echo().await;
        let proxy = FaultProxy::start(upstream).await;
        proxy.cut(cut);
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let before = [start(), message(b'Q', b"BEGIN\0"), message(b'P', b"s1\0SELECT 'COMMIT'\0\0\0")].concat();
        client.write_all(&before).await.unwrap();
        assert_eq!(answer(&mut client, before.len()).await.unwrap(), before);
        assert_eq!(hears.recv().await.unwrap(), before);
        let commit = message(b'Q', b"COMMIT\0");
        client.write_all(&commit[..3]).await.unwrap();
        client.write_all(&commit[3..]).await.unwrap();
        let error = async {
            loop {
                if let Err(error) = client.read_u8().await {
                    return error;
                }
            }
        };
        assert_eq!(error.await.kind(), std::io::ErrorKind::ConnectionReset, "{cut:?}");
        proxy.cuts(1).await;
        drop(proxy);
        let mut heard = Vec::new();
        while let Ok(bytes) = hears.try_recv() {
            heard.extend(bytes);
        }
        assert_eq!(heard == commit, reaches, "{cut:?} {heard:?}");
    }
}

#[tokio::test]
async fn a_connection_is_cut_after_the_kth_message_and_only_once() {
    let (upstream, mut hears) = echo().await;
    let proxy = FaultProxy::start(upstream).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(&start()).await.unwrap();
    answer(&mut client, start().len()).await.unwrap();
    proxy.cut(Cut::AfterMessage(2));
    let (one, two, three) = (message(b'Q', b"one\0"), message(b'Q', b"two\0"), message(b'Q', b"three\0"));
    client.write_all(&[&one[..], &two, &three].concat()).await.unwrap();
    assert!(client.read_u8().await.is_err());
    assert_eq!(hears.recv().await.unwrap(), start());
    assert_eq!(hears.recv().await.unwrap(), [one, two].concat(), "the third was never sent");
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(&[start(), three.clone()].concat()).await.unwrap();
    assert_eq!(answer(&mut client, start().len() + three.len()).await.unwrap(), [start(), three].concat());
}
