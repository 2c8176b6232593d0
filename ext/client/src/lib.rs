//! A Durable Streams client: HTTP and concurrency around `durable-streams-protocol`, which makes the protocol's
//! decisions. It contains nothing of Ruby.
//!
//! - [`endpoint`]: a stream's URL with its headers and parameters; [`connections`]: a client and its connection pools.
//! - [`requests`], [`append`], [`reader`], [`producer`], [`subscriptions`]: the operations.
//! - [`signature`]: Ed25519 signatures.
//! - [`inline`]: jobs that the waiting thread carries out; [`runtime`]: the threads that carry out all others.
//! - [`events`]: what happened, for subscribers; [`log`]: lines for the log.
//! - [`fork`], [`lock`]: state in a process that forks.
//! - [`transport`]: transports that execute requests instead of the network.
//!
//! # Example
//! Reads a stream from a small server that has one response.
//! ```
//! use std::io::{Read, Write};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use durable_streams_client::connections::{Client, Config};
//! use durable_streams_client::endpoint::Endpoint;
//! use durable_streams_client::proxy::ProxySetting;
//! use durable_streams_client::reader::Session;
//! use durable_streams_protocol::read::cursor::{Live, Position};
//! use durable_streams_protocol::read::event::ReadEvent;
//! use durable_streams_protocol::read::machine::ReadOptions;
//! use durable_streams_protocol::read::payload::Format;
//! use durable_streams_protocol::retry::policy::RetryPolicy;
//! use durable_streams_protocol::target::Values;
//!
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let url = format!("http://{}/greetings", listener.local_addr()?);
//! std::thread::spawn(move || -> std::io::Result<()> {
//!     let (mut socket, _) = listener.accept()?;
//!     let _request = socket.read(&mut [0; 4096])?;
//!     let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\
//!         stream-next-offset: 2\r\nstream-up-to-date: true\r\n\r\n";
//!     socket.write_all(format!("{head}[\"hello\",\"world\"]").as_bytes())
//! });
//!
//! let client = Client::new(Config {
//!     timeout: Duration::from_secs(30),
//!     live_timeout: Duration::from_secs(120),
//!     max_message_bytes: 1 << 30,
//!     retry: RetryPolicy {
//!         max_retries: 5,
//!         initial_delay: Duration::from_millis(100),
//!         max_delay: Duration::from_secs(30),
//!         multiplier: 2.0,
//!         statuses: vec![429, 500, 502, 503, 504],
//!     },
//!     patient: true,
//!     ca_file: None,
//!     trusted_origins: Vec::new(),
//!     identity: None,
//!     proxy: ProxySetting::Environment,
//!     user_agent: "example".to_owned(),
//! });
//! let endpoint = Arc::new(Endpoint::new(client, &url, Values::default(), None)?);
//! let session = Session::start(
//!     &endpoint,
//!     ReadOptions {
//!         live: Live::Off,
//!         position: Position::new("-1", None),
//!         format: Format::Json,
//!         media: None,
//!         no_cache: false,
//!         retry: None,
//!         patient: false,
//!         max_bytes: usize::MAX,
//!         has_succeeded: false,
//!     },
//! )?;
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! let (mut items, mut next_offset) = (Vec::new(), String::new());
//! runtime.block_on(async {
//!     let mut events = session.lock_events().await;
//!     while let Some(event) = events.next(1).await {
//!         match event? {
//!             ReadEvent::Part(part) => items.push(part.bytes().clone()),
//!             ReadEvent::End(last, progress) => {
//!                 items.extend(last.map(|part| part.bytes().clone()));
//!                 next_offset = progress.next_offset;
//!             }
//!             ReadEvent::Length(_) | ReadEvent::Retry(_) | ReadEvent::Outage(_) => {}
//!         }
//!     }
//!     durable_streams_protocol::error::Result::Ok(())
//! })?;
//! // Each part has complete items, with commas between them.
//! assert_eq!(items.join(&b','), b"\"hello\",\"world\"");
//! assert_eq!(next_offset, "2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Jobs are inline on Unix only. What only inline jobs use is not left out elsewhere.
#![cfg_attr(not(unix), allow(dead_code))]

pub mod append;
pub mod close_signal;
mod config;
pub mod connections;
pub mod endpoint;
pub mod events;
mod exchange;
pub mod fork;
mod host_names;
pub mod inline;
mod live_connections;
pub mod lock;
pub mod log;
pub mod producer;
pub mod proxy;
pub mod reader;
mod redirect_targets;
pub mod requests;
pub mod runtime;
pub mod signature;
pub mod subscriptions;
mod tls;
pub mod transport;

pub use durable_streams_protocol as protocol;
