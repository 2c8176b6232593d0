//! Repeats the same request over plain sockets, one at a time on each connection. Prints the same figures as wrk:
//! `FIGURES p50 p99 rate failed` (microseconds, microseconds, requests per second, requests). The request is a POST if
//! there is a body, otherwise a GET.
//!
//! Usage: floor URL CONNECTIONS SECONDS [BODY-FILE CONTENT-TYPE]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, connections, seconds, post @ ..] = arguments.as_slice() else {
        return Err("usage: floor URL CONNECTIONS SECONDS [BODY-FILE CONTENT-TYPE]".into());
    };
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or("a URL such as http://127.0.0.1:80/path")?;
    let request = match post {
        [body, content_type, ..] => {
            let body = std::fs::read(body)?;
            let length = body.len();
            let mut request = format!(
                "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
            )
            .into_bytes();
            request.extend_from_slice(&body);
            request
        }
        _ => format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(),
    };

    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds.parse()?);
    let outcomes: Vec<Result<Connection>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..connections.parse::<usize>().unwrap_or(1))
            .map(|_| scope.spawn(|| repeat_until(end, host, &request)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| "a connection's thread panicked")?)
            .collect()
    });
    let took = start.elapsed().as_secs_f64();

    let (mut times, mut failed) = (Vec::new(), 0);
    for outcome in outcomes {
        let connection = outcome?;
        times.extend(connection.times);
        failed += connection.failed;
    }
    times.sort_unstable();
    let microseconds = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    println!(
        "FIGURES {} {} {} {failed}",
        microseconds(0.5),
        microseconds(0.99),
        times.len() as f64 / took
    );
    Ok(())
}

/// The results of one connection's requests.
#[derive(Default)]
struct Connection {
    times: Vec<Duration>,
    failed: usize,
}

fn repeat_until(end: Instant, host: &str, request: &[u8]) -> Result<Connection> {
    let mut socket = TcpStream::connect(host)?;
    socket.set_nodelay(true)?;
    let mut result = Connection::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let start = Instant::now();
        if start >= end && !result.times.is_empty() {
            return Ok(result);
        }
        socket.write_all(request)?;
        if !read_response(&mut socket, &mut buffer)? {
            result.failed += 1;
        }
        result.times.push(start.elapsed());
    }
}

/// Reads one response. Returns whether its status is 2xx. Supports bodies with a Content-Length only.
fn read_response(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<bool> {
    let mut len = 0;
    loop {
        let read = socket.read(&mut buffer[len..])?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        len += read;
        let Some(head) = buffer[..len].windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head])?;
        let body = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
        if len >= head + 4 + body {
            return Ok(text.starts_with("HTTP/1.1 2"));
        }
    }
}
