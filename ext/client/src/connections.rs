//! A client, and its connection pools in this process. Read [`Client`] first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use durable_streams_protocol::error::{Error, Kind, Operation};
use reqwest::{Url, Version};
use rustls::ClientConfig;

use crate::close_signal::CloseSignal;
pub use crate::config::Config;
use crate::exchange::failure::root_cause;
use crate::fork::ProcessLocal;
use crate::host_names::SystemResolver;
use crate::live_connections::LiveConnections;
use crate::lock::Mutex;
use crate::proxy::Proxy;
use crate::redirect_targets::RedirectTargets;
pub use crate::tls::Identity;
use crate::tls::{Roots, TlsSettings};

/// How long a connection may be idle. Servers and load balancers close idle connections silently not much later.
pub(crate) const IDLE: Duration = Duration::from_secs(15);
/// How often the system (TCP) and HTTP/2 check a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_PROBES: u32 = 3;

/// The pools of every client on the process's runtime.
static POOLS: ProcessLocal<Mutex<HashMap<u64, Arc<Pools>>>> = ProcessLocal::new();
/// Called with a client's id when it is closed or dropped: closes its connections on the inline runtimes. The inline
/// module registers it, because this module must not import that one.
static ON_FORGET: OnceLock<fn(u64)> = OnceLock::new();

/// Has `forget` called with the id of each client whose connections are to be closed, if it had any.
pub(crate) fn on_forget(forget: fn(u64)) {
    // The one caller always gives the same function.
    let _known = ON_FORGET.set(forget);
}

/// A client: its settings, and an id under which each process has its connections.
///
/// A forked child can use it too, because its connections are in `POOLS`.
#[derive(Debug)]
pub struct Client {
    id: u64,
    config: Config,
    closing: CloseSignal,
    redirect_targets: RedirectTargets,
    /// Whether the last response came by HTTP/2.
    multiplexes: AtomicBool,
    /// Each job that runs on the process's runtime is an owner.
    jobs: ProcessLocal<()>,
}

/// One client's connections on one runtime. Made when first needed, so that plain HTTP does not read certificates.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    plain: OnceLock<Connections>,
    tls: OnceLock<Connections>,
    tls_settings: Arc<TlsSettings>,
}

/// The connections for the URLs of one scheme.
#[derive(Clone, Debug)]
struct Connections {
    client: Arc<LiveConnections>,
    /// The same, without the client's certificate.
    anonymous: Arc<LiveConnections>,
    proxy: Arc<Proxy>,
}

impl Pools {
    /// Pools of the same client for another runtime.
    pub(crate) fn elsewhere(&self) -> Self {
        Self {
            tls_settings: Arc::clone(&self.tls_settings),
            ..Self::default()
        }
    }
}

/// The pools of every client on one inline runtime.
#[derive(Debug, Default)]
pub(crate) struct PoolSet(HashMap<u64, Arc<Pools>>);

impl PoolSet {
    /// Whether the client with this id has pools here.
    pub(crate) fn has(&self, client: u64) -> bool {
        self.0.contains_key(&client)
    }

    /// Adds pools for the client with this id.
    #[cfg(test)]
    pub(crate) fn add(&mut self, client: u64) {
        self.0.insert(client, Arc::default());
    }
}

/// The connection pool for a request, and the client's other pools on the same runtime.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pools: Arc<Pools>,
    connections: Connections,
    is_anonymous: bool,
}

impl Pool {
    /// The connections for the request. Call [`Pool::check`] first.
    pub(crate) fn connections(&self) -> &LiveConnections {
        match self.is_anonymous {
            true => &self.connections.anonymous,
            false => &self.connections.client,
        }
    }

    /// # Errors
    /// If the environment names a proxy for `url` that cannot be used.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Unavailable> {
        match &*self.connections.proxy {
            Proxy::Direct | Proxy::Through(..) => Ok(()),
            Proxy::Unusable(proxy) => proxy.check(url).map_err(Unavailable::Unusable),
        }
    }

    /// The URL, without its password, of the proxy that a request to `url` goes through.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<String> {
        self.connections.proxy.shown_for(url)
    }

    /// The pool beside it that serves `url`, to which a request was redirected. Only a trusted server gets the client's
    /// certificate.
    pub(crate) fn elsewhere(&self, client: &Client, url: &Url, is_trusted: bool) -> Result<Self, Unavailable> {
        let pool = client.pool_of(&self.pools, url)?;
        Ok(Self {
            is_anonymous: !is_trusted,
            ..pool
        })
    }
}

/// Why there are no connections for a request.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// The client was closed.
    Closed,
    /// A setting cannot be used, such as a file without certificates or a proxy.
    Unusable(String),
}

impl Unavailable {
    /// The error of an operation on `url`, which must have no credentials.
    pub(crate) fn at(self, operation: Operation, url: &str) -> Error {
        match self {
            Self::Closed => Error::new(Kind::Closed, operation, url, "the client is closed"),
            Self::Unusable(reason) => Error::new(Kind::Connection, operation, url, reason),
        }
    }
}

impl Client {
    /// Makes a client. Opens no connection until a request needs one.
    pub fn new(config: Config) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id,
            config,
            closing: CloseSignal::default(),
            redirect_targets: RedirectTargets::default(),
            multiplexes: AtomicBool::new(false),
            jobs: ProcessLocal::new(),
        })
    }

    /// The client's settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where redirects have led writes.
    pub(crate) fn redirect_targets(&self) -> &RedirectTargets {
        &self.redirect_targets
    }

    /// A response of this HTTP version has arrived.
    pub(crate) fn note_version(&self, version: Version) {
        let multiplexes = version == Version::HTTP_2;
        // Threads share this byte. Storing what it is already would have them wait for each other.
        if self.multiplexes.load(Ordering::Relaxed) != multiplexes {
            self.multiplexes.store(multiplexes, Ordering::Relaxed);
        }
    }

    /// Whether requests that overlap can share a connection.
    pub(crate) fn multiplexes(&self) -> bool {
        self.multiplexes.load(Ordering::Relaxed)
    }

    /// Whether jobs of this client run on the process's runtime.
    pub(crate) fn has_jobs(&self) -> bool {
        let owners = self.jobs.get().map_or(0, |jobs| Arc::strong_count(&jobs));
        // Beside the jobs: the client, and `jobs` above.
        owners > 2
    }

    /// Counts as such a job until it is dropped.
    pub(crate) fn job(&self) -> Arc<()> {
        self.jobs.get_or_make(Default::default)
    }

    /// Closes idle connections and refuses further requests. Running requests go on to their end. Reads that wait
    /// between two requests fail. May be called again.
    pub fn close(&self) {
        self.closing.close();
        self.forget_connections();
    }

    /// Whether `close` was called.
    pub fn is_closed(&self) -> bool {
        self.closing.is_closed()
    }

    /// Waits for `close`.
    pub(crate) async fn closed(&self) {
        self.closing.closed().await;
    }

    /// The pool for `url` on the process's runtime. Call it on the application's thread: the first call reads the
    /// environment (proxies, certificate files), which no other thread may do while the application may change it.
    pub(crate) fn pool(&self, url: &Url) -> Result<Pool, Unavailable> {
        let pools = self.pools();
        self.pool_of(&pools, url)
    }

    /// The pool for `url` on the runtime of `set`. Call it on the application's thread, like [`Client::pool`].
    pub(crate) fn pool_in(&self, set: &mut PoolSet, url: &Url) -> Result<Pool, Unavailable> {
        let pools = match set.0.get(&self.id) {
            Some(pools) => Arc::clone(pools),
            None => {
                let pools = Arc::new(self.pools().elsewhere());
                set.0.insert(self.id, Arc::clone(&pools));
                pools
            }
        };
        self.pool_of(&pools, url)
    }

    fn pools(&self) -> Arc<Pools> {
        let pools = POOLS.get_or_make(Mutex::default);
        let mut pools = pools.lock();
        Arc::clone(pools.entry(self.id).or_default())
    }

    fn pool_of(&self, pools: &Arc<Pools>, url: &Url) -> Result<Pool, Unavailable> {
        if self.is_closed() {
            return Err(Unavailable::Closed);
        }
        let (slot, scheme) = match url.scheme() {
            "https" => (&pools.tls, Scheme::Tls),
            _ => (&pools.plain, Scheme::Plain),
        };
        let connections = match slot.get() {
            Some(connections) => connections.clone(),
            None => {
                let proxy = Arc::new(self.config.proxy.for_scheme(url.scheme()));
                // The connection to a proxy may use TLS even for a plain URL.
                let certificates = scheme == Scheme::Tls || proxy.speaks_tls();
                let roots = match certificates {
                    true => Roots::Trusted(self.config.ca_file.as_deref()),
                    false => Roots::None,
                };
                let tls = pools.tls_settings.anonymous(roots).map_err(Unavailable::Unusable)?;
                let built = self.connect(scheme, proxy, tls, &pools.tls_settings);
                let built = built.map_err(Unavailable::Unusable)?;
                slot.get_or_init(|| built).clone()
            }
        };
        Ok(Pool {
            pools: Arc::clone(pools),
            connections,
            is_anonymous: false,
        })
    }

    fn connect(
        &self,
        scheme: Scheme,
        proxy: Arc<Proxy>,
        tls: ClientConfig,
        tls_settings: &TlsSettings,
    ) -> Result<Connections, String> {
        // The server of a plain URL gets no certificate, and its proxy must not get one.
        let identified = match (scheme, &self.config.identity) {
            (Scheme::Tls, Some(identity)) => Some(tls_settings.identified(identity, &tls)?),
            _ => None,
        };
        let anonymous = self.build(scheme, &proxy, tls)?;
        let client = match identified {
            Some(tls) => self.build(scheme, &proxy, tls)?,
            None => anonymous.clone(),
        };
        Ok(Connections {
            client,
            anonymous,
            proxy,
        })
    }

    fn build(&self, scheme: Scheme, proxy: &Arc<Proxy>, tls: ClientConfig) -> Result<Arc<LiveConnections>, String> {
        let (proxy, timeout) = (Arc::clone(proxy), self.config.timeout);
        let user_agent = self.config.user_agent.clone();
        let make = move || build(scheme, &proxy, tls.clone(), timeout, &user_agent);
        let first = make()?;
        let make = (scheme == Scheme::Tls).then(|| Box::new(make) as _);
        Ok(Arc::new(LiveConnections::new(first, make)))
    }

    fn forget_connections(&self) {
        // Clients are freed in forked children and at exit too. `get` makes no pools then.
        let Some(pools) = POOLS.get() else { return };
        let known = pools.lock().remove(&self.id).is_some();
        if known && let Some(forget) = ON_FORGET.get() {
            forget(self.id);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.forget_connections();
    }
}

/// Makes a client without connections.
fn build(
    scheme: Scheme,
    proxy: &Proxy,
    tls: ClientConfig,
    timeout: Duration,
    user_agent: &str,
) -> Result<reqwest::Client, String> {
    let unusable = |e: reqwest::Error| root_cause(&e);
    // Without this, reqwest would read the environment itself.
    let mut builder = reqwest::Client::builder().no_proxy();
    if let Some(proxy) = proxy.to_reqwest().map_err(unusable)? {
        builder = builder.proxy(proxy);
    } else if scheme == Scheme::Plain {
        // Spares reqwest a copy of every request. It would retry only what an HTTP/2 server refuses, and plain
        // connections use HTTP/1.1.
        builder = builder.retry(reqwest::retry::never().max_retries_per_request(0));
    }
    builder
        .tls_backend_preconfigured(tls)
        .dns_resolver(SystemResolver)
        .user_agent(user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(timeout)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEP_ALIVE)
        .tcp_keepalive_interval(KEEP_ALIVE / KEEP_ALIVE_PROBES)
        .tcp_keepalive_retries(KEEP_ALIVE_PROBES)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .build()
        .map_err(unusable)
}

/// The URL scheme of a pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Plain,
    Tls,
}
