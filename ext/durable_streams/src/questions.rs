//! What requests ask of Ruby: for the values that callables compute, and, where the application answers requests itself,
//! for the answer.
//!
//! Ruby code runs on Ruby threads alone. A request asks through a channel that ends at a call which waits for that very
//! request (in `wait_serving`), or at the dispatcher where nobody does. A call answers for nobody else: so whatever comes
//! out of a callable, an interrupt that was meant for the thread included, is that call's own. Where several wait for one
//! request, the next is asked when the first has left. The request itself knows nothing of Ruby.

use std::future::Future;
use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use durable_streams_client::endpoint::{DynamicValues, ValuesFuture};
use durable_streams_client::fork::ProcessBound;
use durable_streams_client::inline::job::Work;
use durable_streams_client::transport::{ResponseFuture, Transport, TransportError, TransportRequest};
use durable_streams_protocol::error::{Kind, Result as CoreResult};
use durable_streams_protocol::target::Values;
use magnus::error::ErrorType;
use magnus::value::{Opaque, ReprValue};
use magnus::{Class, Error, Ruby, Value, gc};
use tokio::sync::{mpsc, oneshot};

use crate::fiber_guard::FiberGuard;
use crate::handles::GcHandle;
use crate::request::{self, Request};
use crate::values::Callables;
use crate::wait::{Went, here, wait};

/// What a request waits for.
pub(crate) enum Question {
    /// The values of the callables.
    Values(oneshot::Sender<Result<Values, Kind>>),
    /// The answer, from the application instead of a server.
    Answer(Box<TransportRequest>, request::Answer),
}

impl Question {
    /// Whether the request was given up meanwhile.
    fn is_moot(&self) -> bool {
        match self {
            Question::Values(answer) => answer.is_closed(),
            Question::Answer(_, answer) => answer.is_closed(),
        }
    }

    /// Ends the request by an exception.
    pub(crate) fn fail(self, exception: GcHandle) {
        let exception = Arc::new(exception);
        // A request that was cancelled meanwhile wants no answer.
        match self {
            Question::Values(answer) => drop(answer.send(Err(Kind::Application(exception)))),
            Question::Answer(_, answer) => drop(answer.send(Err(TransportError::Application(exception)))),
        }
    }
}

/// The questions of the requests that a call waits for.
pub(crate) type Questions = mpsc::UnboundedReceiver<Question>;

/// A way from requests to the call that waits for them.
pub(crate) fn channel() -> (Arc<Asking>, Questions) {
    let (put, questions) = mpsc::unbounded_channel();
    let asking = Asking::new(move |question| {
        // Nobody there takes it any more: it is dropped, which says so.
        let _left = put.send(question);
    });
    (asking, questions)
}

/// What requests ask through. A question that is dropped tells its request that whoever was asked has left.
pub(crate) struct Asking(Box<dyn Fn(Question) + Send + Sync>);

impl Asking {
    /// Has `put` put questions where somebody answers them.
    pub(crate) fn new(put: impl Fn(Question) + Send + Sync + 'static) -> Arc<Asking> {
        Arc::new(Asking(Box::new(put)))
    }
}

impl DynamicValues for Asking {
    fn resolve(&self) -> ValuesFuture {
        let (answer, told) = oneshot::channel();
        (self.0)(Question::Values(answer));
        Box::pin(async move { told.await.unwrap_or(Err(Kind::Left)) })
    }
}

impl Transport for Asking {
    fn execute(&self, request: TransportRequest) -> ResponseFuture {
        let (answer, told) = oneshot::channel();
        (self.0)(Question::Answer(Box::new(request), answer));
        Box::pin(async move { told.await.unwrap_or(Err(TransportError::Abandoned)) })
    }
}

/// What a stream handle's requests ask for.
pub(crate) struct Application {
    callables: Option<Callables>,
    transport: Option<Opaque<Value>>,
}

impl Application {
    /// What `callables` and `transport` (which answers requests by its `call`) are asked for; `None` if that is nothing.
    pub(crate) fn new(callables: Option<Callables>, transport: Option<Value>) -> Option<Application> {
        (callables.is_some() || transport.is_some()).then(|| Application {
            callables,
            transport: transport.map(Opaque::from),
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

    /// Marks what it refers to for the GC.
    pub(crate) fn mark(&self, marker: &gc::Marker) {
        if let Some(callables) = &self.callables {
            callables.mark(marker);
        }
        if let Some(transport) = self.transport {
            marker.mark(transport);
        }
    }

    /// Answers a question for the caller, who waits for the request and meanwhile leaves what it waits by with the GC.
    ///
    /// # Errors
    /// Whatever comes out of the application's code; it is the caller's. The caller has left the request then: its part,
    /// `rest`, is dropped first and the question after it, so that another who waits for the request is asked.
    fn attend<T: Send + 'static>(&self, ruby: &Ruby, question: Question, rest: T) -> Result<T, Error> {
        if question.is_moot() {
            return Ok(rest);
        }
        match question {
            Question::Values(answer) => {
                let Some(callables) = &self.callables else {
                    return Ok(rest);
                };
                let guard = FiberGuard::new(ruby, (rest, answer));
                let values = callables.evaluate(ruby);
                let (rest, answer) = guard.take(ruby)?;
                match values {
                    Ok(values) => {
                        // A request that was cancelled meanwhile wants no answer.
                        let _gone = answer.send(Ok(values));
                        Ok(rest)
                    }
                    Err(error) => {
                        drop(rest);
                        drop(answer);
                        Err(error)
                    }
                }
            }
            Question::Answer(request, answer) => {
                let Some(transport) = self.transport else {
                    return Ok(rest);
                };
                let request = Request::wrap(ruby, *request, answer);
                let guard = FiberGuard::new(ruby, rest);
                let called: Result<Value, Error> = ruby.get_inner(transport).funcall("call", (request,));
                let rest = guard.take(ruby)?;
                match called {
                    Ok(_) => Ok(rest),
                    Err(error) => {
                        drop(rest);
                        drop(request.take_back());
                        Err(error)
                    }
                }
            }
        }
    }

    /// Answers a question for the dispatcher, who waits for nothing: an exception goes to the request, as it is. Where the
    /// application's code forks, the child answers nothing: the request is its parent's.
    ///
    /// # Errors
    /// The end of the thread, a `throw` or a signal: the question goes to `again`.
    pub(crate) fn answer(
        &self,
        ruby: &Ruby,
        question: Question,
        again: impl FnOnce(Question) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if question.is_moot() {
            return Ok(());
        }
        match question {
            Question::Values(answer) => {
                let Some(callables) = &self.callables else {
                    return Ok(());
                };
                let mut answer = ProcessBound::new(Some(answer));
                let values = callables.evaluate(ruby);
                let Some(answer) = answer.get_mut().and_then(Option::take) else {
                    return values.map(|_| ());
                };
                let values = match values.map_err(|error| told(ruby, error)) {
                    Ok(values) => Ok(values),
                    Err(Ok(said)) => Err(Kind::Application(Arc::new(said))),
                    Err(Err(error)) => {
                        again(Question::Values(answer))?;
                        return Err(error);
                    }
                };
                // A request that was cancelled meanwhile wants no answer.
                let _gone = answer.send(values);
            }
            Question::Answer(request, answer) => {
                let Some(transport) = self.transport else { return Ok(()) };
                let request = Request::wrap(ruby, *request, answer);
                let called: Result<Value, Error> = ruby.get_inner(transport).funcall("call", (request,));
                match called.map_err(|error| told(ruby, error)) {
                    Ok(_) => {}
                    Err(Ok(said)) => request.fail_with(TransportError::Application(Arc::new(said))),
                    Err(Err(error)) => {
                        if let Some((made, answer)) = request.take_back() {
                            again(Question::Answer(Box::new(made), answer))?;
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
/// the thread for its own sake: a signal, or the end of the process.
fn told(ruby: &Ruby, error: Error) -> Result<GcHandle, Error> {
    if error.is_kind_of(ruby.exception_signal()) || error.is_kind_of(ruby.exception_system_exit()) {
        return Err(error);
    }
    match error.error_type() {
        ErrorType::Exception(exception) => Ok(GcHandle::new(*exception)),
        // Made in this crate, of a value that cannot be sent.
        ErrorType::Error(class, message) => class.new_instance((message.as_ref(),)).map(GcHandle::new),
        ErrorType::Jump(_) => Err(error),
    }
}

/// Waits for `future`, and meanwhile answers what its requests ask through `questions`, which come back with its output.
pub(crate) fn wait_serving<F, Q>(
    ruby: &Ruby,
    application: Option<&Application>,
    questions: Option<Q>,
    future: F,
) -> Result<(F::Output, Option<Q>), Error>
where
    F: Future<Output: Send> + Send + 'static,
    Q: DerefMut<Target = Questions> + Send + Unpin + 'static,
{
    let (Some(application), Some(questions)) = (application, questions) else {
        return Ok((wait(ruby, future)?, None));
    };
    let mut serving = Serving::new(future, Some(questions));
    loop {
        match wait(ruby, serving)? {
            Happened::Done(output, questions) => return Ok((output, questions)),
            Happened::Asked(question, rest) => serving = application.attend(ruby, question, rest)?,
        }
    }
}

/// Has `work` carried out, waits for it and meanwhile answers what it asks through `questions`.
pub(crate) fn carry_out_serving<T: Send + 'static>(
    ruby: &Ruby,
    application: Option<&Application>,
    mut questions: Option<Questions>,
    work: Work<T>,
) -> Result<CoreResult<T>, Error> {
    let begun = match here(work) {
        Ok(Ok(mut work)) => loop {
            match work.go_on(ruby, |context| asked(questions.as_mut(), context))? {
                Went::Done(outcome) => return Ok(outcome),
                Went::Aside(question) => {
                    if let Some(application) = application {
                        work = application.attend(ruby, question, work)?;
                    }
                }
            }
        },
        Ok(Err(work)) => work.spawn(),
        Err(error) => Err(error),
    };
    match begun {
        Ok(task) => wait_serving(ruby, application, questions.map(Box::new), task).map(|(outcome, _)| outcome),
        Err(error) => Ok(Err(error)),
    }
}

/// The next question. Where nobody asks any more there is nothing but the work to wait for.
fn asked(questions: Option<&mut Questions>, context: &mut Context<'_>) -> Poll<Question> {
    match questions.map(|questions| questions.poll_recv(context)) {
        Some(Poll::Ready(Some(question))) => Poll::Ready(question),
        Some(Poll::Ready(None) | Poll::Pending) | None => Poll::Pending,
    }
}

/// Something to wait for, and what is asked meanwhile. Each thing that happens ends it; after a question it may begin again.
struct Serving<F, Q>(Option<(Pin<Box<F>>, Option<Q>)>);

enum Happened<F: Future, Q> {
    Done(F::Output, Option<Q>),
    Asked(Question, Serving<F, Q>),
}

impl<F, Q> Serving<F, Q> {
    fn new(future: F, questions: Option<Q>) -> Serving<F, Q> {
        Serving(Some((Box::pin(future), questions)))
    }
}

impl<F: Future, Q: DerefMut<Target = Questions> + Unpin> Future for Serving<F, Q> {
    type Output = Happened<F, Q>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((mut future, mut questions)) = self.0.take() else {
            return Poll::Pending;
        };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Happened::Done(output, questions));
        }
        let asked = asked(questions.as_deref_mut(), context);
        let rest = Some((future, questions));
        if let Poll::Ready(question) = asked {
            return Poll::Ready(Happened::Asked(question, Serving(rest)));
        }
        self.0 = rest;
        Poll::Pending
    }
}
