//! One request: rules, route, forwarding, answer.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evenkeel::PickError;
use evenkeel::route::matching::Request as Asked;
use evenkeel::router::{
    Decision, Exchange, Incoming as Arriving, RouteError, Scratch, SendError, StaticResponse,
};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Version};
use tokio::time::{Instant, timeout_at};

use super::access_log::Record;
use super::attempt::Answer;
use super::cause::Cause;
use super::forward::{Forwarded, Lost, Way, forward};
use super::forwarded::{self, Origin};
use super::head::{Field, Seen};
use super::hop_by_hop;
use super::listener::Listener;
use super::live::Own;
use super::message::{Message, Outgoing};
use super::reply_body::{Beginning, ReplyBody};
use super::request_body::{Fate, RequestBody, Streaming};
use super::request_rules::{self, content_length};
use super::unanswered::Unanswered;
use super::upstream::Upstream;
use super::watch::{Busy, Watch};
use super::worker::{Place, Worker};
use super::{cookies, mirror, upgrade};

/// A connection of a client.
pub struct Client {
    /// Whence it comes.
    pub ip: Option<IpAddr>,
    /// The same as upstreams are told.
    pub ip_value: Option<HeaderValue>,
    /// Whether it is encrypted.
    pub is_tls: bool,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Who serves it.
    pub worker: Arc<Worker>,
    /// What it is doing.
    pub watch: Arc<Watch>,
    /// What it takes up.
    pub place: Arc<Place>,
}

/// Answers a request.
pub async fn serve(client: Arc<Client>, mut request: Request<Incoming>) -> Response<ReplyBody> {
    let (started, busy) = (Instant::now(), client.watch.begin());
    let worker = &client.worker;
    let record = worker.log.as_ref().map(|_| begin_record(&client, &request));
    let unanswered = Unanswered::new(worker, started, record);
    let seen = Seen::of(request.headers());
    let live = settings(worker);
    let protocol = if seen.has(Field::Connection) && seen.has(Field::Upgrade) {
        upgrade::asked(&request, &live.settings.upgrades)
    } else {
        None
    };
    let tunnel = protocol.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    client.watch.comes_with_body(!body.is_end_stream());
    let busy = Some(busy);
    let mut coming = Coming { client: &client, live: &live, head, seen, protocol, busy, unanswered };
    match coming.answer(body, tunnel).await {
        Ok(response) => response,
        Err(refusal) => coming.refuse(refusal),
    }
}

/// A request, and what is known of it. It stays where it is while it is answered: it is too large to be handed around.
struct Coming<'a> {
    client: &'a Client,
    live: &'a Arc<Own>,
    head: Parts,
    seen: Seen,
    protocol: Option<HeaderValue>,
    /// Until there is an answer, which has it then.
    busy: Option<Busy>,
    unanswered: Unanswered<'a>,
}

/// Why a request is not forwarded, or brought no answer.
struct Refusal {
    cause: Cause,
    retry_after: Option<Duration>,
    body: Option<StaticResponse>,
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self { cause, retry_after: None, body: None }
    }
}

impl Coming<'_> {
    async fn answer(
        &mut self,
        body: Incoming,
        tunnel: Option<hyper::upgrade::OnUpgrade>,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (client, live, seen) = (self.client, self.live, self.seen);
        let (worker, listener) = (&client.worker, &client.listener);
        let head = &mut self.head;
        let host = request_rules::check(head, &seen, &listener.config.limits)?;
        cookies::join(&mut head.headers, head.version);
        if live.settings.healthz.as_deref().is_some_and(|path| path == head.uri.path()) {
            let response = healthz(worker);
            return Ok(self.own(response));
        }
        let length = content_length(head, &seen);
        let has_body = !body.is_end_stream();
        let protocol = self.protocol.take();
        if protocol.is_some() && has_body {
            return Err(Cause::BadRequest("a body before another protocol").into());
        }
        let can_keep = !has_body || length.is_some_and(|length| length <= live.settings.replay_bytes);
        let (mut exchange, path) = match route(client, head, &host, can_keep, &mut self.unanswered.record)? {
            Routed::Send(exchange, path) => (exchange, path),
            Routed::Own(response) => return Ok(self.own(response)),
        };
        let path = match path {
            Some(path) => path,
            None => head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        };
        let takes_trailers =
            seen.has(Field::Te) && hop_by_hop::has_token(&head.headers, header::TE, b"trailers");
        hop_by_hop::strip(&mut head.headers, &seen);
        let is_tls = client.is_tls;
        let origin =
            Origin { client: client.ip, client_value: client.ip_value.as_ref(), is_tls, host: &host };
        forwarded::write(&mut head.headers, origin, &live.settings.forwarded, &seen);
        if let Some(via) = &live.via {
            via.write(&mut head.headers, head.version)?;
        }
        if seen.hosts == 0 {
            head.headers.insert(header::HOST, host.clone());
        }
        let changes = exchange.request_headers();
        let host = if changes.as_slice().is_empty() {
            host
        } else {
            changes.apply(&mut head.headers);
            head.headers.get(header::HOST).cloned().unwrap_or(host)
        };
        let is_upgrade = protocol.is_some();
        if let Some(protocol) = protocol.clone() {
            upgrade::ask(&mut head.headers, protocol);
        }
        let (method, headers) = (std::mem::take(&mut head.method), std::mem::take(&mut head.headers));
        let message = Message { method, path, host, headers, takes_trailers };
        let until = exchange.time_left().map(|left| Instant::now() + left);

        let (limits, idle) = (&listener.config.limits, listener.config.timeouts.idle);
        let mut fate = None;
        let mut outgoing = if !has_body {
            Outgoing::Kept(Bytes::new())
        } else {
            let told = Arc::<Fate>::default();
            let streaming =
                RequestBody::Streaming(Box::new(Streaming::new(body, limits.body_bytes, idle, &told)));
            if can_keep && (exchange.may_send_again() || exchange.mirror().is_some()) {
                match Box::pin(in_time(until, streaming.collect())).await {
                    Some(Ok(all)) => Outgoing::Kept(all.to_bytes()),
                    Some(Err(_)) => {
                        return Err(told.cause().unwrap_or(Cause::BadRequest("the body broke off")).into());
                    }
                    // Nobody was asked yet, so nobody is to blame but the client.
                    None => return Err(Cause::ClientTimeout.into()),
                }
            } else {
                fate = Some(told);
                Outgoing::Once(Some(streaming))
            }
        };
        if !is_upgrade {
            mirror::copy(worker, live, &exchange, &message, &outgoing);
        }
        let way = Way { worker, live, message: &message, is_upgrade, fate: fate.as_deref() };
        let result = forward(way, &mut exchange, &mut outgoing).await;
        if let Some(record) = &mut self.unanswered.record {
            record.text("cluster", exchange.cluster().name().as_bytes());
            record.number("attempts", exchange.attempts() as u64);
        }
        let Forwarded { answer, pick, verdict, at, taken } = match result {
            Ok(forwarded) => forwarded,
            Err(Lost::Failed(cause)) => return Err(cause.into()),
            Err(Lost::NoEndpoint(error)) => return Err(no_endpoint(&error, &exchange)),
        };
        let started = self.unanswered.started;
        if let Some(record) = &mut self.unanswered.record {
            record.text("endpoint", pick.endpoint().id().as_str().as_bytes());
            record.number("head_us", u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        let Answer { mut response, seen, via } = answer;
        let agreed = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let agreed = protocol.filter(|asked| upgrade::is_agreed(asked, response.headers()));
            Some((hyper::upgrade::on(&mut response), agreed))
        } else {
            None
        };
        let (mut head, body) = response.into_parts();
        if seen.codings > 0 {
            // The coding says where the body ends (RFC 9112, section 6.3); the length would say otherwise.
            head.headers.remove(header::CONTENT_LENGTH);
        }
        hop_by_hop::strip(&mut head.headers, &seen);
        for cookie in exchange.set_cookies(&pick) {
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                head.headers.append(header::SET_COOKIE, cookie);
            }
        }
        exchange.response_headers().apply(&mut head.headers);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        if let Some((upstream, agreed)) = agreed {
            let (Some(tunnel), Some(agreed)) = (tunnel, agreed) else { return Err(Cause::Garbage.into()) };
            let mut pick = pick;
            if let Some(verdict) = verdict {
                pick.record(verdict);
            }
            upgrade::ask(&mut head.headers, agreed);
            let held = (pick, Arc::clone(&client.place));
            client.watch.becomes_tunnel();
            upgrade::tunnel(worker, tunnel, upstream, held, live.settings.timeouts.tunnel);
            return Ok(self.own(Response::from_parts(head, Bytes::new())));
        }
        let call = verdict.is_none().then(|| Box::new((exchange, taken)));
        let idle = live.settings.timeouts.idle;
        // A call may be as long as it likes, if its route has no time limit.
        let is_stream = call.is_some() || seen.is_events;
        worker.counts.answered(head.status.as_u16());
        let record = self.unanswered.answered().map(|mut record| {
            record.number("status", head.status.as_u16().into());
            (record, started)
        });
        let beginning =
            Beginning { body, via, pick, verdict, call, is_stream, until, idle, begun: at, record };
        let body = ReplyBody::passing(beginning, Arc::clone(worker), self.busy.take());
        Ok(Response::from_parts(head, body))
    }

    /// The proxy answers itself.
    fn own(&mut self, response: Response<Bytes>) -> Response<ReplyBody> {
        let (worker, started) = (&self.client.worker, self.unanswered.started);
        let status = response.status().as_u16();
        worker.counts.answered(status);
        if let (Some(mut record), Some(log)) = (self.unanswered.answered(), &worker.log) {
            record.number("status", status.into());
            log.add(&record.end(response.body().len() as u64, started.elapsed(), true));
        }
        response.map(|bytes| ReplyBody::own(bytes, self.busy.take()))
    }

    fn refuse(&mut self, refusal: Refusal) -> Response<ReplyBody> {
        let Refusal { cause, retry_after, body } = refusal;
        self.client.worker.counts.refused(cause);
        if let Some(record) = &mut self.unanswered.record {
            record.text("cause", cause.word().as_bytes());
            if !cause.detail().is_empty() {
                record.text("detail", cause.detail().as_bytes());
            }
        }
        let response = refuse(cause, retry_after, body, self.seen.is_grpc);
        self.own(response)
    }
}

#[expect(clippy::large_enum_variant, reason = "a box would allocate for every request")]
enum Routed {
    Send(Exchange<Upstream>, Option<PathAndQuery>),
    Own(Response<Bytes>),
}

thread_local! {
    static SCRATCH: RefCell<Scratch<Upstream>> = RefCell::default();
    static LIVE: RefCell<Option<Arc<Own>>> = const { RefCell::new(None) };
}

/// The settings, in a reference that only this thread counts: one that all count would be a line of memory that all write.
fn settings(worker: &Worker) -> Arc<Own> {
    LIVE.with_borrow_mut(|kept| {
        let current = worker.shared.live.load();
        match kept {
            Some(kept) if Arc::ptr_eq(&kept.0, &current) => Arc::clone(kept),
            _ => Arc::clone(kept.insert(Arc::new(Own(Arc::clone(&current))))),
        }
    })
}

/// Asks the router, on this thread's scratch.
fn route(
    client: &Client,
    head: &Parts,
    host: &HeaderValue,
    can_keep: bool,
    record: &mut Option<Record>,
) -> Result<Routed, Refusal> {
    let (path, query) = (head.uri.path().as_bytes(), head.uri.query().unwrap_or_default().as_bytes());
    let method = head.method.as_str();
    let (listener, headers) = (client.listener.config.name.as_str(), &head.headers);
    let asked = Asked { method, host: host.as_bytes(), path, query, headers, listener, hash: 0 };
    let arriving = Arriving::new(asked).repeatable(can_keep && head.method.is_idempotent());
    let arriving = match client.ip {
        Some(ip) => arriving.from_address(ip),
        None => arriving,
    };
    SCRATCH.with_borrow_mut(|scratch| {
        let routed = client.worker.router.route(&arriving, scratch).map_err(not_routed)?;
        let matched = routed.matched;
        if let Some(record) = record {
            record.text("route", matched.name().as_bytes());
        }
        let own = |mut response: Response<Bytes>| {
            matched.headers().response.apply(response.headers_mut());
            Ok(Routed::Own(response))
        };
        match routed.decision {
            Decision::Send(exchange) => {
                let changed =
                    (matched.path() != path).then(|| new_path(&matched.escaped_path(), query)).transpose()?;
                Ok(Routed::Send(exchange, changed))
            }
            Decision::Redirect { status, location } => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
                if let Ok(location) = HeaderValue::from_str(&location) {
                    response.headers_mut().insert(header::LOCATION, location);
                }
                own(response)
            }
            Decision::Respond(fixed) => own(fixed_answer(&fixed)),
        }
    })
}

fn not_routed(error: RouteError) -> Refusal {
    match error {
        RouteError::BadRequest(_) => Cause::BadRequest("the address cannot be understood").into(),
        RouteError::Limited { retry_after, .. } => {
            Refusal { cause: Cause::Limited, retry_after: Some(retry_after), body: None }
        }
        RouteError::NoKey { .. } => {
            Cause::BadRequest("a key is missing by which requests are limited").into()
        }
        _ => Cause::NoRoute.into(),
    }
}

/// What comes of it by then, if there is a limit.
async fn in_time<T>(until: Option<Instant>, what: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until, what).await.ok(),
        None => Some(what.await),
    }
}

/// The path as the rules saw it: an upstream that understood another one could be asked past them.
fn new_path(path: &[u8], query: &[u8]) -> Result<PathAndQuery, Refusal> {
    let mut text = path.to_vec();
    if !query.is_empty() {
        text.push(b'?');
        text.extend_from_slice(query);
    }
    PathAndQuery::try_from(text).map_err(|_| Cause::BadRequest("the address cannot be understood").into())
}

fn no_endpoint(error: &SendError, exchange: &Exchange<Upstream>) -> Refusal {
    let SendError::Pick(error) = error else { return Cause::NoEndpoint.into() };
    let body = match error {
        PickError::Panic(_) => exchange.cluster().panic_response().cloned().map(|fixed| StaticResponse {
            status: fixed.status,
            body: fixed.body,
            ..StaticResponse::new(503)
        }),
        _ => None,
    };
    Refusal { cause: Cause::NoEndpoint, retry_after: error.free_in(), body }
}

fn healthz(worker: &Worker) -> Response<Bytes> {
    let is_draining = worker.shared.is_draining();
    let mut response = Response::new(Bytes::from_static(if is_draining { b"draining\n" } else { b"ok\n" }));
    if is_draining {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn fixed_answer(fixed: &StaticResponse) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(fixed.body.as_bytes()));
    *response.status_mut() = StatusCode::from_u16(fixed.status).unwrap_or(StatusCode::OK);
    if let Ok(kind) = HeaderValue::from_str(&fixed.content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// The proxy's own words: the cause, in one line.
fn refuse(
    cause: Cause,
    retry_after: Option<Duration>,
    body: Option<StaticResponse>,
    is_grpc: bool,
) -> Response<Bytes> {
    if is_grpc {
        return refuse_call(cause);
    }
    let mut response = match body {
        Some(fixed) => fixed_answer(&fixed),
        None => {
            let is_theirs = matches!(cause, Cause::BadRequest(_));
            let text = if is_theirs {
                format!("{}: {}\n", cause.word(), cause.detail())
            } else {
                format!("{}\n", cause.word())
            };
            let mut response = Response::new(Bytes::from(text));
            *response.status_mut() = cause.status();
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
    };
    if let Some(wait) = retry_after {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if cause.closes() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Clients of gRPC look at nothing but their own status.
fn refuse_call(cause: Cause) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(cause.grpc_code())));
    headers.insert("grpc-message", HeaderValue::from_static(cause.word()));
    response
}

fn begin_record(client: &Client, request: &Request<Incoming>) -> Record {
    let mut record = Record::new();
    record.text("listener", client.listener.config.name.as_bytes());
    if let Some(ip) = client.ip {
        record.text("client", ip.to_string().as_bytes());
    }
    record.text("method", request.method().as_str().as_bytes());
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| request.uri().authority().map(|host| host.as_str().as_bytes()));
    record.text("host", host.unwrap_or_default());
    record.text("path", request.uri().path_and_query().map_or("", |path| path.as_str()).as_bytes());
    record
}
