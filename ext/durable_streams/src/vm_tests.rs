//! Tests that need a running Ruby: waiting, conversion, and panics.

use std::future::{pending, poll_fn};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::task::Poll;

use magnus::value::ReprValue;
use magnus::{Error, Ruby, Value};
use rb_sys_test_helpers::setup_ruby_unguarded;
use tokio::sync::oneshot;

use crate::convert;
use crate::errors::guard;
use crate::wait::wait;

/// A test, and the sender of its result.
type TestRun = (fn(&Ruby), SyncSender<std::thread::Result<()>>);

/// Runs tests on the VM's main thread, one after another, without a time limit. `with_ruby_vm` of the test helpers
/// allows ten seconds, and a GC at every allocation may need more on a busy machine.
static MAIN_THREAD: LazyLock<Sender<TestRun>> = LazyLock::new(|| {
    let (give, given) = channel::<TestRun>();
    std::thread::spawn(move || {
        // SAFETY: called once, on the thread that becomes the VM's main thread.
        unsafe { setup_ruby_unguarded() };
        for (test, ended) in given {
            ended.send(catch_unwind(|| with_library(test))).unwrap();
        }
    });
    give
});

/// Runs `test` on the VM's main thread, with the library's exceptions defined.
fn in_ruby(test: fn(&Ruby)) {
    let (ended, end) = sync_channel(1);
    MAIN_THREAD.send((test, ended)).unwrap();
    if let Err(panic) = end.recv().unwrap() {
        resume_unwind(panic);
    }
}

fn with_library(test: fn(&Ruby)) {
    // SAFETY: called on the VM's main thread, with the GVL.
    let ruby = unsafe { Ruby::get_unchecked() };
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lib/durable_streams");
    let library = format!(
        "require 'json'; %w[version constants retry_policy errors].each {{ |f| require File.join('{files}', f) }}"
    );
    ruby.eval::<Value>(&library).unwrap();
    test(&ruby);
}

fn class_and_message(error: &Error) -> (String, String) {
    let exception = error.value().unwrap();
    (exception.class().to_string(), exception.to_string())
}

#[test]
fn waits_for_the_value_of_a_native_thread() {
    in_ruby(|ruby| {
        let (give, given) = oneshot::channel();
        let giver = std::thread::spawn(move || give.send(7));
        assert_eq!(wait(ruby, given).unwrap(), Ok(7));
        giver.join().unwrap().unwrap();
    });
}

#[test]
fn drops_the_future_when_an_exception_ends_the_wait() {
    struct Dropped(oneshot::Sender<()>);
    in_ruby(|ruby| {
        let (sender, mut dropped) = oneshot::channel();
        let work = Dropped(sender);
        // Another Ruby thread, which runs because the wait releases the GVL.
        ruby.eval::<Value>(
            "main = Thread.current; Thread.new { Thread.pass until main.stop?; main.raise(IOError, 'enough') }",
        )
        .unwrap();
        let error = wait(ruby, async move {
            let _work = &work.0;
            pending::<()>().await;
        })
        .unwrap_err();
        assert_eq!(class_and_message(&error), ("IOError".to_owned(), "enough".to_owned()));
        assert!(matches!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    });
}

#[test]
fn goes_on_waiting_after_a_wake_up_that_raises_nothing() {
    in_ruby(|ruby| {
        let wake = "$woken = 0
            main = Thread.current
            Thread.new do
              Thread.pass until main.stop?
              10.times { main.wakeup; Thread.pass; $woken += 1 }
              main.raise(IOError, 'enough')
            end";
        ruby.eval::<Value>(wake).unwrap();
        let error = wait(ruby, pending::<()>()).unwrap_err();
        assert_eq!(class_and_message(&error), ("IOError".to_owned(), "enough".to_owned()));
        assert_eq!(ruby.eval::<i64>("$woken").unwrap(), 10);
    });
}

#[test]
fn raises_a_panic_once_and_the_next_call_works() {
    in_ruby(|ruby| {
        type Panics = fn(&Ruby) -> Result<(), Error>;
        let panics: [Panics; 3] = [
            |ruby| guard(ruby, || panic!("in a method")),
            |ruby| wait(ruby, async { panic!("in a method") }),
            |ruby| {
                let mut first = true;
                let second_time = poll_fn(move |context| {
                    context.waker().wake_by_ref();
                    assert!(std::mem::take(&mut first), "in a method");
                    Poll::Pending
                });
                wait(ruby, second_time)
            },
        ];
        for panics in panics {
            let error = panics(ruby).unwrap_err();
            let expected = ("DurableStreams::DurableStreamError", "internal error: in a method");
            let (class, message) = class_and_message(&error);
            assert_eq!((class.as_str(), message.as_str()), expected);
            assert!(wait(ruby, async { 1 }).is_ok());
        }
    });
}

#[test]
fn a_failed_call_does_not_change_the_current_exception() {
    in_ruby(|ruby| {
        // SAFETY: on the VM's main thread with the GVL; this frame refers to the exception.
        let (set, current) = unsafe {
            let exception: Value = ruby.eval("RuntimeError.new('first')").unwrap();
            rb_sys::rb_set_errinfo(magnus::rb_sys::AsRawValue::as_raw(exception));
            let failed = guard(ruby, || ruby.eval::<Value>("raise 'second'"));
            assert!(failed.is_err());
            let current = rb_sys::rb_errinfo();
            rb_sys::rb_set_errinfo(rb_sys::Qnil as rb_sys::VALUE);
            (magnus::rb_sys::AsRawValue::as_raw(exception), current)
        };
        assert_eq!(set, current);
    });
}

#[test]
fn converted_items_survive_a_gc_at_every_allocation() {
    in_ruby(|ruby| {
        let text =
            r#"{"a":[1,2.5,"x\n",null,true,{"ä":"ö","deep":[[[[1]]]]}],"key":"value"},12345678901234567890,"s",[]"#;
        let wide: Vec<String> = (0..600).map(|n| format!("[{n},\"{n}\"]")).collect();
        let text = format!("{text},[{}]", wide.join(","));
        ruby.define_variable("$text", ruby.str_new(&text)).unwrap();
        ruby.eval::<Value>("GC.stress = true").unwrap();
        let items = convert::parse_items(ruby, text.as_bytes(), 5, None);
        ruby.eval::<Value>("GC.stress = false").unwrap();
        let expected: Value = ruby.eval("JSON.parse(\"[#{$text}]\")").unwrap();
        assert!(items.unwrap().as_value().eql(expected).unwrap());
    });
}
