//! The life of a server: start, become ready, serve, drain, stop. `hallpass serve` and `hallpass dev` both live it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::Config;
use super::wiring::{self, World};
use crate::broker::Broker;
use crate::http::{self, HttpState, RequestIds};
use crate::store::Hints;
use crate::worker::{self, BundleWatch, ClockWatch, Intervals};

/// Longest that chores may take to stop, and then the store to close. With the usual drain of 5 s, all is over within 25 s.
const REST_WITHIN: Duration = Duration::from_secs(3);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A server that listens and is about to serve.
pub struct Server {
    broker: Broker,
    listener: TcpListener,
    metrics: Option<(TcpListener, PrometheusHandle)>,
    tls: Option<Arc<rustls::ServerConfig>>,
    state: HttpState,
    watch: Arc<BundleWatch>,
    watch_every: Option<Duration>,
    intervals: Intervals,
    finish_within: Duration,
    hints: Option<Hints>,
    clock: Option<ClockWatch>,
    drain: Duration,
}

impl Server {
    /// Build everything and bind the listeners; nothing is served yet.
    ///
    /// # Errors
    /// What cannot be built or bound, and why, for people.
    pub async fn start(config: &Config, world: World, metrics: Option<PrometheusHandle>) -> anyhow::Result<Self> {
        // The allocator touches its memory here and there: huge pages would double what is resident and save no time. A kernel
        // that does not know of them needs no telling.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
        let request_ids = Arc::new(RequestIds::new(&*world.entropy));
        let tls = super::tls::server_config(config)?;
        let wiring::Built { broker, hints, clock } = wiring::build(config, world).await?;
        let listener = bind(config.server.listen).await?;
        let metrics = match (config.server.metrics_listen, metrics) {
            (Some(address), Some(handle)) => Some((bind(address).await?, handle)),
            _ => None,
        };
        let state = HttpState {
            broker: broker.clone(),
            public_url: config.public_url().into(),
            trusted_proxies: config.server.trusted_proxies.clone().into(),
            admission: Arc::default(),
            request_ids,
            draining: CancellationToken::new(),
            work: TaskTracker::new(),
        };
        let watch = Arc::new(BundleWatch::new(broker.clone(), config.policy.folder.clone()));
        let seconds = u64::from(config.policy.watch_seconds);
        let watch_every = (seconds > 0).then(|| Duration::from_secs(seconds));
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let intervals = Intervals {
            ending: seconds(config.intervals.ending_seconds),
            reconcile: seconds(config.intervals.reconcile_seconds),
            upkeep: seconds(config.intervals.upkeep_seconds),
        };
        let finish_within = seconds(config.intervals.finish_seconds);
        // Nobody balances load over a developer's machine.
        let drain = if config.dev { Duration::ZERO } else { seconds(config.server.drain_seconds) };
        Ok(Self {
            broker,
            listener,
            metrics,
            tls,
            state,
            watch,
            watch_every,
            intervals,
            finish_within,
            hints,
            clock,
            drain,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the listener has lost its address.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The broker inside.
    #[must_use]
    pub const fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Serve until `until` is done, then drain: be not ready while still serving, answer what is under way, finish mints, close
    /// the store.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn serve(mut self, until: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
        let (chores, resting, stopping) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        self.start_chores(&chores, &resting);
        if let Some((listener, handle)) = self.metrics.take() {
            let (router, stop) = (http::metrics_router(handle), stopping.clone());
            chores.spawn(async move {
                if let Err(error) = http::serve(listener, router, None, http::Limits::default(), stop).await {
                    tracing::error!(%error, "the metrics listener failed");
                }
            });
        }
        let (work, draining) = (self.state.work.clone(), self.state.draining.clone());
        // Connections that stay open are cut off a little before the rest is.
        let answer_within = self.finish_within.saturating_sub(Duration::from_millis(500));
        let limits = http::Limits { drain_timeout: answer_within, ..http::Limits::default() };
        let serving =
            tokio::spawn(http::serve(self.listener, http::router(self.state), self.tls, limits, stopping.clone()));
        until.await;
        tracing::info!(drain.secs = self.drain.as_secs(), "draining: not ready any more, still serving");
        draining.cancel();
        // Whoever sends us requests needs a moment to notice.
        let _ = tokio::time::timeout(self.drain, std::future::pending::<()>()).await;
        tracing::info!("stopping: no new connections; finishing what is under way");
        stopping.cancel();
        work.close();
        let finishing = async { tokio::join!(serving, work.wait()).0 };
        if let Ok(served) = tokio::time::timeout(self.finish_within, finishing).await {
            served.context("the listener panicked")?.context("the listener failed")?;
        } else {
            tracing::warn!("some work did not finish in time; the sweeps of the next start take it up");
        }
        resting.cancel();
        chores.close();
        if tokio::time::timeout(REST_WITHIN, chores.wait()).await.is_err() {
            tracing::warn!("some chores did not stop in time");
        }
        if tokio::time::timeout(CLOSE_WITHIN, self.broker.stop()).await.is_err() {
            tracing::warn!("the store did not close in time; whatever was answered is in it all the same");
        }
        Ok(())
    }

    /// Start what runs beside the listener until it rests.
    fn start_chores(&mut self, chores: &TaskTracker, resting: &CancellationToken) {
        worker::start(&self.broker, self.intervals, resting, chores);
        if let Some(every) = self.watch_every {
            let (watch, stop) = (Arc::clone(&self.watch), resting.clone());
            chores.spawn(async move { watch.watch(every, stop).await });
        }
        if let Some(hints) = self.hints.take() {
            chores.spawn(worker::heed(self.broker.clone(), hints, resting.clone()));
        }
        if let Some(clock) = self.clock.take() {
            let stop = resting.clone();
            chores.spawn(async move { clock.watch(stop).await });
        }
        chores.spawn(reload_on_hangup(Arc::clone(&self.watch), resting.clone()));
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}; if it is taken, choose another with --listen or [server] listen")
    })
}

/// On SIGHUP the policy bundle is loaded anew.
async fn reload_on_hangup(watch: Arc<BundleWatch>, stopping: CancellationToken) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    loop {
        tokio::select! {
            _ = hangups.recv() => {
                let _ = watch.reload().await;
            }
            () = stopping.cancelled() => return,
        }
    }
}

/// The signals that tell a process to stop: SIGTERM and SIGINT. From when this is made, neither kills it any more; one that
/// comes before anybody waits is kept.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listen for them.
    ///
    /// # Errors
    /// When the operating system does not allow it.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Done when one has come.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
