//! What requests ask of Ruby: for the values that callables compute, and, where the application answers requests itself,
//! for the answer.
//!
//! Ruby code runs on Ruby threads alone. A request asks through a queue; whoever waits for that request (in
//! `wait_serving`), or the dispatcher where nobody does, answers. The request itself knows nothing of Ruby.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use durable_streams_core::endpoint::{DynamicValues, Resolving, Values};
use durable_streams_core::error::{Kind, Result as CoreResult};
use durable_streams_core::process::ProcessLocal;
use durable_streams_core::transport::{Answering, Fault, Outgoing, Transport};
use durable_streams_core::work::Work;
use magnus::error::ErrorType;
use magnus::value::{Opaque, ReprValue};
use magnus::{Class, Error, Ruby, Value, gc};
use tokio::sync::oneshot;

use crate::held::{self, Held};
use crate::queue::Queue;
use crate::request::{self, Request};
use crate::values::Callables;
use crate::wait::{carry_out, wait};

/// What a request waits for.
pub(crate) enum Question {
    /// The values of the callables.
    Values(oneshot::Sender<Result<Values, Kind>>),
    /// The answer, from the application instead of a server.
    Answer(Box<Outgoing>, request::Answer),
}

impl Question {
    /// Whether the request was given up meanwhile.
    fn is_moot(&self) -> bool {
        match self {
            Question::Values(answer) => answer.is_closed(),
            Question::Answer(_, answer) => answer.is_closed(),
        }
    }
}

/// What requests ask through. A question that nobody takes is dropped, and its request told so.
pub(crate) struct Asking(Box<dyn Fn(Question) + Send + Sync>);

impl Asking {
    /// Has `put` put questions where somebody answers them.
    pub(crate) fn new(put: impl Fn(Question) + Send + Sync + 'static) -> Arc<Asking> {
        Arc::new(Asking(Box::new(put)))
    }
}

impl DynamicValues for Asking {
    fn resolve(&self) -> Resolving {
        let (answer, told) = oneshot::channel();
        (self.0)(Question::Values(answer));
        Box::pin(async move { told.await.unwrap_or(Err(Kind::Closed)) })
    }
}

impl Transport for Asking {
    fn answer(&self, request: Outgoing) -> Answering {
        let (answer, told) = oneshot::channel();
        (self.0)(Question::Answer(Box::new(request), answer));
        Box::pin(async move { told.await.unwrap_or(Err(Fault::Gone)) })
    }
}

/// What a stream handle's requests ask for, and the queue they ask through. A forked child has a queue of its own: a
/// thread of its parent holds the turn to take from the old one for as long as it waits.
pub(crate) struct Application {
    callables: Option<Callables>,
    transport: Option<Opaque<Value>>,
    queue: Arc<ProcessLocal<Queue<Question>>>,
}

impl Application {
    /// What `callables` and `transport` (which answers requests by its `call`) are asked for; `None` if that is nothing.
    pub(crate) fn new(callables: Option<Callables>, transport: Option<Value>) -> Option<Application> {
        (callables.is_some() || transport.is_some()).then(|| Application {
            callables,
            transport: transport.map(Opaque::from),
            queue: Arc::default(),
        })
    }

    /// Whether requests ask for values.
    pub(crate) fn has_values(&self) -> bool {
        self.callables.is_some()
    }

    /// Whether requests ask for their answers.
    pub(crate) fn has_answers(&self) -> bool {
        self.transport.is_some()
    }

    /// What requests ask through.
    pub(crate) fn asking(&self) -> Arc<Asking> {
        let queue = Arc::clone(&self.queue);
        Asking::new(move |question| queue.get_or_make(Queue::new).put(question))
    }

    /// Marks what it refers to for the GC.
    pub(crate) fn mark(&self, marker: &gc::Marker) {
        if let Some(callables) = &self.callables {
            callables.mark(marker);
        }
        if let Some(transport) = self.transport {
            marker.mark(transport);
        }
    }

    /// Answers a question. An exception reaches whoever waits for the request's outcome, as it is.
    ///
    /// # Errors
    /// A `throw` or the end of the thread. It is this thread's alone, but the request may be others' as well: the question
    /// goes to `again`, so that one of them answers it.
    pub(crate) fn answer(&self, ruby: &Ruby, question: Question, again: impl FnOnce(Question)) -> Result<(), Error> {
        if question.is_moot() {
            return Ok(());
        }
        match question {
            Question::Values(answer) => {
                let Some(callables) = &self.callables else {
                    return Ok(());
                };
                let values = match callables.evaluate(ruby).map_err(|error| kept(ruby, error)) {
                    Ok(values) => Ok(values),
                    Err(Ok(said)) => Err(Kind::Application(Arc::new(said))),
                    Err(Err(error)) => {
                        again(Question::Values(answer));
                        return Err(error);
                    }
                };
                // A request that was cancelled meanwhile wants no answer.
                let _gone = answer.send(values);
            }
            Question::Answer(request, answer) => {
                let Some(transport) = self.transport else { return Ok(()) };
                let request = ruby.obj_wrap(Request::new(*request, answer));
                let called: Result<Value, Error> = ruby.get_inner(transport).funcall("call", (request,));
                match called.map_err(|error| kept(ruby, error)) {
                    Ok(_) => {}
                    Err(Ok(said)) => request.fail_with(Fault::Failed(Arc::new(said))),
                    Err(Err(error)) => {
                        if let Some((made, answer)) = request.take_back() {
                            again(Question::Answer(Box::new(made), answer));
                        }
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// An exception, to be raised where the request's outcome is waited for; the error if it is none, or one that came to
/// this thread for its own sake while it answered for another: a signal, or the end of the process.
fn kept(ruby: &Ruby, error: Error) -> Result<Held, Error> {
    if error.is_kind_of(ruby.exception_signal()) || error.is_kind_of(ruby.exception_system_exit()) {
        return Err(error);
    }
    match error.error_type() {
        ErrorType::Exception(exception) => Ok(held::hold(*exception)),
        // Made in this crate, of a value that cannot be sent.
        ErrorType::Error(class, message) => class.new_instance((message.as_ref(),)).map(held::hold),
        ErrorType::Jump(_) => Err(error),
    }
}

/// Waits for `future` and meanwhile answers what requests ask.
pub(crate) fn wait_serving<F: Future>(
    ruby: &Ruby,
    application: Option<&Application>,
    future: F,
) -> Result<F::Output, Error> {
    let Some(application) = application else {
        return wait(ruby, future);
    };
    let mut future = pin!(future);
    let queue = application.queue.get_or_make(Queue::new);
    loop {
        let mut next = pin!(queue.next());
        let happened = poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Happened::Done(output));
            }
            match next.as_mut().poll(context) {
                Poll::Ready(Some(question)) => Poll::Ready(Happened::Asked(question)),
                // The sending end lives in the queue: it does not end.
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        });
        match wait(ruby, happened)? {
            Happened::Done(output) => return Ok(output),
            Happened::Asked(question) => application.answer(ruby, question, |question| queue.put(question))?,
        }
    }
}

/// Has `work` carried out, waits for it and meanwhile answers what requests ask.
pub(crate) fn carry_out_serving<T: Send + 'static>(
    ruby: &Ruby,
    application: Option<&Application>,
    work: Work<T>,
) -> Result<CoreResult<T>, Error> {
    if application.is_none() {
        return carry_out(ruby, work);
    }
    match work.spawn() {
        Ok(task) => wait_serving(ruby, application, task),
        Err(error) => Ok(Err(error)),
    }
}

enum Happened<T> {
    Done(T),
    Asked(Question),
}
