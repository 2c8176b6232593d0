//! Panics on demand, so that specs can check how they reach Ruby. Only in debug builds.

use std::future::poll_fn;
use std::sync::Arc;

use durable_streams_client::connections::{Client, Config};
use durable_streams_client::endpoint::Endpoint;
use durable_streams_client::inline::job::Job;
use durable_streams_client::runtime::Task;
use durable_streams_protocol::error::{Error as CoreError, Kind};
use durable_streams_protocol::target::Values;
use magnus::{Error, Object, RModule, Ruby, function};

use crate::caller_work::run_job;
use crate::errors::{self, guard};
use crate::wait::wait;

/// `Native.panic_for_tests(place)`: panics in a `"method"`, in a `"wait"` (in the awaited future), in a `"request"` (in
/// an inline job) or in a `"task"` (on a thread of the runtime).
fn panic_for_tests(ruby: &Ruby, place: String) -> Result<(), Error> {
    guard(ruby, || match place.as_str() {
        "method" => panic!("panic in a method"),
        "wait" => {
            let mut polls = 0;
            let second_time = poll_fn::<(), _>(move |context| {
                polls += 1;
                context.waker().wake_by_ref();
                assert!(polls < 3, "panic in a wait");
                std::task::Poll::Pending
            });
            wait(ruby, second_time)
        }
        "request" => {
            let client = Client::new(Config::for_tests());
            let endpoint = Endpoint::new(client, "http://localhost/", Values::default(), None);
            let endpoint = Arc::new(endpoint.map_err(|error| errors::raise(ruby, error))?);
            let work = Job::<()>::panicking(&endpoint, "panic in a request");
            run_job(ruby, None, None, work)?.map_err(|error| errors::raise(ruby, error))
        }
        _ => {
            let task = Task::<()>::spawn(async {
                match std::hint::black_box(true) {
                    true => panic!("panic in a task"),
                    false => Err(CoreError::plain(Kind::Internal, String::new())),
                }
            });
            wait(ruby, task.map_err(|error| errors::raise(ruby, error))?)?.map_err(|error| errors::raise(ruby, error))
        }
    })
}

/// Defines the module function.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("panic_for_tests", function!(panic_for_tests, 1))
}
