//! Header and parameter values: strings that are fixed, and callables that are asked anew for every HTTP request.
//!
//! Callables run on Ruby threads alone. A request that needs values asks through a queue; whoever waits for that
//! request (in `wait_serving`) answers. The request itself knows nothing of Ruby.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use durable_streams_core::endpoint::{DynamicValues, HeaderName, HeaderValue, Resolving, Values};
use durable_streams_core::error::Kind;
use durable_streams_core::process::ProcessLocal;
use magnus::error::ErrorType;
use magnus::value::{Opaque, ReprValue};
use magnus::{Error, RHash, RString, Ruby, Symbol, TryConvert, Value, gc, r_hash::ForEach};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::errors;
use crate::held;
use crate::wait::wait;

/// What a stream handle's headers and parameters are.
pub(crate) struct Given {
    /// The strings.
    pub(crate) fixed: Values,
    /// The callables, if there are any.
    pub(crate) callables: Option<Callables>,
}

/// The callables of a stream handle, and the queue in which its requests ask for their values.
pub(crate) struct Callables {
    headers: Vec<(HeaderName, Opaque<Value>)>,
    params: Vec<(String, Opaque<Value>)>,
    queue: Arc<ProcessLocal<Queue>>,
}

/// The queue in one process. A forked child gets its own: a thread of its parent holds the turn to take from the old one
/// for as long as it waits.
struct Queue {
    asking: mpsc::UnboundedSender<Question>,
    asked: Arc<Mutex<mpsc::UnboundedReceiver<Question>>>,
}

impl Default for Queue {
    fn default() -> Queue {
        let (asking, asked) = mpsc::unbounded_channel();
        Queue {
            asking,
            asked: Arc::new(Mutex::new(asked)),
        }
    }
}

/// A request that waits for its values.
pub(crate) struct Question(oneshot::Sender<Result<Values, Kind>>);

/// The end of the queue that requests hold.
struct Asking(Arc<ProcessLocal<Queue>>);

impl DynamicValues for Asking {
    fn resolve(&self) -> Resolving {
        let (question, told) = question();
        asked(self.0.get_or_make(Queue::default).asking.send(question).is_ok(), told)
    }
}

/// A question, and where its answer comes.
pub(crate) fn question() -> (Question, oneshot::Receiver<Result<Values, Kind>>) {
    let (answer, told) = oneshot::channel();
    (Question(answer), told)
}

/// What a request waits for once its question was asked.
pub(crate) fn asked(sent: bool, told: oneshot::Receiver<Result<Values, Kind>>) -> Resolving {
    Box::pin(async move {
        match told.await {
            Ok(values) if sent => values,
            // Whoever would have answered is gone.
            _ => Err(Kind::Closed),
        }
    })
}

impl Callables {
    /// What requests ask through.
    pub(crate) fn source(&self) -> Arc<dyn DynamicValues> {
        Arc::new(Asking(Arc::clone(&self.queue)))
    }

    /// Marks the callables for the GC.
    pub(crate) fn mark(&self, marker: &gc::Marker) {
        for (_, value) in &self.headers {
            marker.mark(*value);
        }
        for (_, value) in &self.params {
            marker.mark(*value);
        }
    }

    /// Asks every callable once. Runs Ruby code: with the GVL, and no lock held.
    fn evaluate(&self, ruby: &Ruby) -> Result<Values, Error> {
        let mut values = Values::default();
        for (name, callable) in &self.headers {
            let value: Value = ruby.get_inner(*callable).funcall("call", ())?;
            if let Some(text) = text_of(ruby, "header", name.as_str(), value)? {
                values
                    .headers
                    .push((name.clone(), header_value(ruby, name.as_str(), text)?));
            }
        }
        for (name, callable) in &self.params {
            let value: Value = ruby.get_inner(*callable).funcall("call", ())?;
            if let Some(text) = text_of(ruby, "param", name, value)? {
                values.params.push((name.clone(), param_value(ruby, name, text)?));
            }
        }
        Ok(values)
    }

    /// Answers a request. An exception reaches whoever waits for the request's outcome, as it is.
    pub(crate) fn answer(&self, ruby: &Ruby, question: Question) -> Result<(), Error> {
        let answer = match self.evaluate(ruby) {
            Ok(values) => Ok(values),
            Err(error) => match error.error_type() {
                ErrorType::Exception(exception) => Err(Kind::Application(Arc::new(held::hold(*exception)))),
                // A `throw` or the end of the thread is this thread's alone, but the request may be others' as well: one
                // of them answers it.
                _ => {
                    let _nobody_left = self.queue.get_or_make(Queue::default).asking.send(question);
                    return Err(error);
                }
            },
        };
        // A request that was cancelled meanwhile wants no answer.
        let _gone = question.0.send(answer);
        Ok(())
    }
}

/// Waits for `future` and meanwhile answers the requests that ask for values.
pub(crate) fn wait_serving<F: Future>(
    ruby: &Ruby,
    callables: Option<&Callables>,
    future: F,
) -> Result<F::Output, Error> {
    let Some(callables) = callables else {
        return wait(ruby, future);
    };
    let mut future = pin!(future);
    let queue = callables.queue.get_or_make(Queue::default);
    loop {
        let next = async {
            let asked = Arc::clone(&queue.asked);
            asked.lock_owned().await.recv().await
        };
        let mut next = pin!(next);
        let happened = poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Happened::Done(output));
            }
            match next.as_mut().poll(context) {
                Poll::Ready(Some(question)) => Poll::Ready(Happened::Asked(question)),
                // The sending end lives in the queue itself: it does not end.
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        });
        match wait(ruby, happened)? {
            Happened::Done(output) => return Ok(output),
            Happened::Asked(question) => callables.answer(ruby, question)?,
        }
    }
}

enum Happened<T> {
    Done(T),
    Asked(Question),
}

/// Reads what a user gave as headers and parameters.
pub(crate) fn given(ruby: &Ruby, headers: RHash, params: RHash) -> Result<Given, Error> {
    let mut fixed = Values::default();
    let mut dynamic_headers = Vec::new();
    let mut dynamic_params = Vec::new();
    each(headers, |name, value| {
        let name = header_name(ruby, name_of(ruby, "header", name)?)?;
        if is_callable(value) {
            dynamic_headers.push((name, Opaque::from(value)));
        } else if let Some(text) = text_of(ruby, "header", name.as_str(), value)? {
            let value = header_value(ruby, name.as_str(), text)?;
            fixed.headers.push((name, value));
        }
        Ok(())
    })?;
    each(params, |name, value| {
        let name = name_of(ruby, "param", name)?;
        if is_callable(value) {
            dynamic_params.push((name, Opaque::from(value)));
        } else if let Some(text) = text_of(ruby, "param", &name, value)? {
            let value = param_value(ruby, &name, text)?;
            fixed.params.push((name, value));
        }
        Ok(())
    })?;
    let callables = (!dynamic_headers.is_empty() || !dynamic_params.is_empty()).then(|| Callables {
        headers: dynamic_headers,
        params: dynamic_params,
        queue: Arc::default(),
    });
    Ok(Given { fixed, callables })
}

fn each(hash: RHash, mut body: impl FnMut(Value, Value) -> Result<(), Error>) -> Result<(), Error> {
    hash.foreach(|name: Value, value: Value| body(name, value).map(|()| ForEach::Continue))
}

fn is_callable(value: Value) -> bool {
    value.respond_to("call", false).unwrap_or(false)
}

fn name_of(ruby: &Ruby, what: &str, name: Value) -> Result<String, Error> {
    if RString::from_value(name).is_none() && Symbol::from_value(name).is_none() {
        let class = name.class();
        return Err(errors::argument(
            ruby,
            format!("a {what}'s name must be a String or a Symbol, got {class}"),
        ));
    }
    name.funcall("to_s", ())
}

/// A value as text; `None` for nil, which leaves it out.
fn text_of(ruby: &Ruby, what: &str, name: &str, value: Value) -> Result<Option<RString>, Error> {
    if value.is_nil() {
        return Ok(None);
    }
    if let Some(text) = RString::from_value(value) {
        return Ok(Some(text));
    }
    let plain = [ruby.class_symbol(), ruby.class_integer(), ruby.class_float()];
    if plain.into_iter().any(|class| value.is_kind_of(class)) {
        return RString::try_convert(value.funcall("to_s", ())?).map(Some);
    }
    let class = value.class();
    let message =
        format!("{what} {name}: its value must be a String, nil or something that responds to call, got {class}");
    Err(errors::argument(ruby, message))
}

fn header_name(ruby: &Ruby, name: String) -> Result<HeaderName, Error> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| errors::argument(ruby, format!("header name {name:?} has characters that cannot be sent")))
}

/// The message leaves out the value, which may be a secret.
fn header_value(ruby: &Ruby, name: &str, value: RString) -> Result<HeaderValue, Error> {
    // SAFETY: the bytes are copied before any Ruby code can run.
    let made = HeaderValue::from_bytes(unsafe { value.as_slice() });
    made.map_err(|_| {
        errors::argument(
            ruby,
            format!("header {name}: its value has a CR, LF, NUL or another control character"),
        )
    })
}

fn param_value(ruby: &Ruby, name: &str, value: RString) -> Result<String, Error> {
    let text = value
        .to_string()
        .map_err(|_| errors::argument(ruby, format!("param {name}: its value must be UTF-8")))?;
    match text.contains(['\r', '\n', '\0']) {
        true => Err(errors::argument(
            ruby,
            format!("param {name}: its value has a CR, LF or NUL"),
        )),
        false => Ok(text),
    }
}
