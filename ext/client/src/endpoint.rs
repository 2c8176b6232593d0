//! Endpoints: a stream's URL with its headers and parameters, which are fixed or computed for every request. Read
//! [`Endpoint`] first.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use durable_streams_protocol::error::{About, Error, Kind, Operation, Result};
use durable_streams_protocol::request::Context;
use durable_streams_protocol::target::{Prepared, Target, Values};
use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::connections::{Client, Pool, PoolSet, Unavailable};
use crate::events::{self, Event, EventName, EventQueue, is_wanted};
use crate::transport::Transport;

/// The future of computed values.
pub type ValuesFuture = Pin<Box<dyn Future<Output = std::result::Result<Values, Kind>> + Send>>;

/// Headers and parameters that the application computes for every HTTP request, by value callables.
pub trait DynamicValues: Send + Sync {
    /// Asks the application. `Err` (a `Kind::Application` or `Kind::Abandoned`) ends the operation.
    fn resolve(&self) -> ValuesFuture;
}

/// Whether the user's headers may go to an origin. An error fails the operation.
pub type TrustFuture = Pin<Box<dyn Future<Output = std::result::Result<bool, Kind>> + Send>>;

/// The application's decision which origins are trusted.
pub trait OriginTrust: Send + Sync {
    /// Whether redirects may take the user's headers to `origin`, such as `https://node2:4437`.
    fn trusts(&self, origin: &str) -> TrustFuture;
}

/// A stream's URL, with the client and the headers and parameters of its requests.
#[derive(Clone)]
pub struct Endpoint {
    client: Arc<Client>,
    target: Target,
    dynamic: Option<Arc<dyn DynamicValues>>,
    transport: Option<Arc<dyn Transport>>,
    trust: Option<Arc<dyn OriginTrust>>,
    /// Gets the events of the requests. `None`: they are unowned.
    events: Option<Arc<EventQueue>>,
}

impl fmt::Debug for Endpoint {
    /// Leaves out headers and parameters: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.display())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Makes the endpoint of the stream at `url` (absolute, http or https). A user and password in it become an
    /// `Authorization` header and appear in no message.
    ///
    /// # Errors
    /// `Kind::Argument` if the URL cannot be used.
    pub fn new(client: Arc<Client>, url: &str, fixed: Values, dynamic: Option<Arc<dyn DynamicValues>>) -> Result<Self> {
        Ok(Self {
            client,
            target: Target::new(url, fixed)?,
            dynamic,
            transport: None,
            trust: None,
            events: None,
        })
    }

    /// The same endpoint, whose requests `transport` executes instead of the network.
    #[must_use]
    pub fn with_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Lets the application decide which other origins are trusted.
    #[must_use]
    pub fn with_origin_trust(mut self, trust: Arc<dyn OriginTrust>) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The same endpoint, with `application` in place of its values, transport and origin trust, where it has them.
    #[must_use]
    pub fn with_application<A>(&self, application: &Arc<A>) -> Self
    where
        A: DynamicValues + Transport + OriginTrust + 'static,
    {
        Self {
            dynamic: self.dynamic.as_ref().map(|_| Arc::clone(application) as _),
            transport: self.transport.as_ref().map(|_| Arc::clone(application) as _),
            trust: self.trust.as_ref().map(|_| Arc::clone(application) as _),
            ..self.clone()
        }
    }

    /// The same endpoint, whose requests put their events into `queue`.
    #[must_use]
    pub fn with_events(mut self, queue: Arc<EventQueue>) -> Self {
        self.events = Some(queue);
        self
    }

    /// Where the events of its requests go. `None`: they are unowned.
    pub(crate) fn events(&self) -> Option<&Arc<EventQueue>> {
        self.events.as_ref()
    }

    /// Reports an event of this name, if somebody wants it.
    pub(crate) fn report(&self, name: EventName, make: impl FnOnce() -> Event) {
        if is_wanted(name) {
            events::put(self.events(), make());
        }
    }

    /// The same endpoint for one request, with the values that the application computes for it now.
    pub(crate) async fn resolved(&self, operation: Operation) -> Result<Self> {
        let values = self.dynamic_values(operation).await?;
        Ok(Self {
            client: Arc::clone(&self.client),
            target: self.target.with(values),
            dynamic: None,
            transport: self.transport.clone(),
            trust: self.trust.clone(),
            events: self.events.clone(),
        })
    }

    /// The computed values for the next request.
    async fn dynamic_values(&self, operation: Operation) -> Result<Values> {
        let Some(dynamic) = &self.dynamic else {
            return Ok(Values::default());
        };
        dynamic.resolve().await.map_err(|kind| {
            let reason = "a header or parameter could not be computed";
            Error::new(kind, operation, self.display(), reason)
        })
    }

    /// Whether redirects may take the user's headers to `origin`, which is not the stream's own.
    pub(crate) async fn trusts(&self, operation: Operation, origin: &str) -> Result<bool> {
        let Some(trust) = &self.trust else {
            return Ok(self
                .client
                .config()
                .trusted_origins
                .iter()
                .any(|trusted| trusted == origin));
        };
        let reason = "trusted_origins could not be computed";
        let trusts = trust.trusts(origin).await;
        trusts.map_err(|kind| Error::new(kind, operation, self.display(), reason))
    }

    /// The client it belongs to.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The URL as messages show it: without credentials, and without its query, which may hold a token.
    pub fn display(&self) -> &str {
        self.target.display()
    }

    /// What an error of `operation` names: the operation and this URL.
    pub fn about(&self, operation: Operation) -> About<'_> {
        let url = self.display();
        About { operation, url }
    }

    /// The context in which a response to a request of `operation` is judged.
    pub fn context(&self, operation: Operation) -> Context<'_> {
        Context {
            about: self.about(operation),
            policy: &self.client.config().retry,
            now: SystemTime::now(),
        }
    }

    /// Who decides which other origins are trusted, if the application does.
    pub(crate) fn origin_trust(&self) -> Option<&Arc<dyn OriginTrust>> {
        self.trust.as_ref()
    }

    /// What executes the requests, if it is not the network.
    pub(crate) fn transport(&self) -> Option<&dyn Transport> {
        self.transport.as_deref()
    }

    /// Whether the application's code takes part in requests.
    pub(crate) fn has_application(&self) -> bool {
        self.dynamic.is_some() || self.transport.is_some() || self.trust.is_some()
    }

    /// The target of its requests.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the same request to both, if none has an application, has the same effect and the same response.
    pub(crate) fn sends_the_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.client, &other.client) && self.target == other.target
    }

    /// Whether the application computes values for each request.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic.is_some()
    }

    /// The pool for requests on the process's runtime. [`Client::pool`] says on which thread to call it.
    pub(crate) fn pool(&self, operation: Operation) -> Result<Pool> {
        let pool = self.client.pool(&self.url_of_pool(self.target.url()));
        pool.map_err(|why| why.at(operation, self.display()))
    }

    /// The pool for requests on the runtime of `set`. [`Client::pool`] says on which thread to call it.
    pub(crate) fn pool_in(&self, set: &mut PoolSet, operation: Operation) -> Result<Pool> {
        let pool = self.client.pool_in(set, &self.url_of_pool(self.target.url()));
        pool.map_err(|why| why.at(operation, self.display()))
    }

    fn url_of_pool<'a>(&self, url: &'a Url) -> Cow<'a, Url> {
        if self.transport.is_none() {
            return Cow::Borrowed(url);
        }
        // A transport sends nothing through the pool, so certificates are not needed.
        let mut url = url.clone();
        // Changing `https` to `http` never fails.
        let _allowed = url.set_scheme("http");
        Cow::Owned(url)
    }

    /// The pool beside `pool` for a URL that a request was redirected to.
    pub(crate) fn pool_elsewhere(
        &self,
        operation: Operation,
        pool: &Pool,
        url: &Url,
        is_trusted: bool,
    ) -> Result<Pool> {
        let other = pool.elsewhere(&self.client, &self.url_of_pool(url), is_trusted);
        other.map_err(|why| why.at(operation, self.display()))
    }

    /// # Errors
    /// If the client was closed.
    pub(crate) fn check_open(&self, operation: Operation) -> Result<()> {
        match self.client.is_closed() {
            true => Err(Unavailable::Closed.at(operation, self.display())),
            false => Ok(()),
        }
    }

    /// The next request's URL and headers. `own` are the protocol's headers, which replace the user's.
    pub(crate) async fn prepare(
        &self,
        operation: Operation,
        own: &HeaderMap,
        query: &[(&str, &str)],
    ) -> Result<Prepared> {
        let dynamic = self.dynamic_values(operation).await?;
        Ok(self.target.prepare(&dynamic, own, query))
    }
}
