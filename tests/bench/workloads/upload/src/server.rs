//! The sink: hyper receives on two threads, a third one looks at the parts.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::runtime::{Builder, Runtime};
use tokio::{net::TcpListener, sync::mpsc};

use crate::parts::{Open, Part, Peer, Source};
use crate::{CONNECTIONS, Failed};

/// Complete parts that wait for the thread that looks at them.
const QUEUE: usize = 8;

/// What the storing thread has seen since it was last asked.
#[derive(Default)]
struct Seen {
    bytes: AtomicUsize,
    sum: AtomicU64,
}

pub struct Server {
    pub port: u16,
    seen: Arc<Seen>,
    runtime: Option<Runtime>,
    storing: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub fn start(peer: Peer, size: usize) -> Result<Server, Failed> {
        let source = Arc::new(Source::new(peer, size)?);
        let seen = Arc::new(Seen::default());
        let (sender, receiver) = mpsc::channel(QUEUE);
        let storing = thread::spawn({
            let (source, seen) = (source.clone(), seen.clone());
            move || store(receiver, &source, &seen)
        });
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_io().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let port = listener.local_addr()?.port();
        runtime.spawn(accept(listener, source, sender));
        Ok(Server { port, seen, runtime: Some(runtime), storing: Some(storing) })
    }

    /// Waits until so many bytes were looked at, and returns their sum.
    pub fn digest(&self, bytes: usize) -> Result<u64, Failed> {
        let begun = Instant::now();
        while self.seen.bytes.load(Relaxed) < bytes {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("parts are missing".into());
            }
            thread::sleep(Duration::from_micros(50));
        }
        self.seen.bytes.store(0, Relaxed);
        Ok(self.seen.sum.swap(0, Relaxed))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ends the tasks, and with them the queue's last sender.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        if let Some(storing) = self.storing.take() {
            let _ = storing.join();
        }
    }
}

fn store(mut receiver: mpsc::Receiver<Part>, source: &Source, seen: &Seen) {
    while let Some(part) = receiver.blocking_recv() {
        let bytes = part.bytes();
        let sum: u64 =
            bytes.iter().step_by(4096).enumerate().map(|(at, byte)| (at as u64 + 1) * u64::from(*byte)).sum();
        let length = bytes.len();
        if let Err(why) = source.give(part) {
            eprintln!("upload: {why}");
            return;
        }
        seen.sum.fetch_add(sum, Relaxed);
        seen.bytes.fetch_add(length, Relaxed);
    }
}

async fn accept(listener: TcpListener, source: Arc<Source>, sender: mpsc::Sender<Part>) {
    for _ in 0..CONNECTIONS {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (source, sender) = (source.clone(), sender.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (source, sender) = (source.clone(), sender.clone());
                async move {
                    let done = receive(request.into_body(), &source, &sender).await;
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() =
                        if done.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::INTERNAL_SERVER_ERROR };
                    Ok::<_, Infallible>(response)
                }
            });
            // The sender that goes away is no error.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn receive(mut body: Incoming, source: &Source, sender: &mpsc::Sender<Part>) -> Result<(), Failed> {
    if source.collects() {
        let mut whole = body.collect().await?.to_bytes();
        while !whole.is_empty() {
            sender.send(Part::Bytes(whole.split_to(whole.len().min(source.size())))).await?;
        }
        return Ok(());
    }
    let mut scratch = BytesMut::new();
    let mut open: Option<Open> = None;
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        while !data.is_empty() {
            let mut filling = match open.take() {
                Some(filling) => filling,
                None => source.open()?,
            };
            if source.fill(&mut filling, &mut data, &mut scratch) {
                sender.send(source.close(filling, &mut scratch)).await?;
            } else {
                open = Some(filling);
            }
        }
    }
    if let Some(rest) = open {
        sender.send(source.close(rest, &mut scratch)).await?;
    }
    Ok(())
}
