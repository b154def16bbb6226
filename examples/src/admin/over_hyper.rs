use std::time::Duration;

use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderName;
use hyper::{Request, Response, StatusCode};

use tokio::time::timeout;

use super::{Admin, Answer};

impl Admin {
    /// Answers a request that a server of hyper has taken. Its body may take 10 s; that needs a runtime of tokio with timers.
    pub async fn answer_hyper(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = match timeout(WAIT, Limited::new(body, self.max_body()).collect()).await {
            Ok(Ok(body)) => Collected::to_bytes(body),
            Ok(Err(_)) => return of(Answer::failed(413, "body", "the body is too long, or did not arrive")),
            Err(_) => return of(Answer::failed(408, "body", "the body did not come")),
        };
        let authority = head.uri.authority().map(|host| ("host", host.as_str()));
        let named = |name: HeaderName| {
            let value = head.headers.get(&name)?.to_str().ok()?;
            WANTED.iter().find(|wanted| **wanted == name.as_str()).map(|wanted| (*wanted, value))
        };
        let wanted = WANTED.iter().filter_map(|name| named(HeaderName::from_static(name)));
        let headers: Vec<(&str, &str)> = authority.into_iter().chain(wanted).collect();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        of(self.answer(head.method.as_str(), target, &headers, &body))
    }
}

fn of(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let body = Bytes::from(answer.body);
    response.body(Full::new(body)).unwrap_or_else(|_| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// What is typed arrives at once: whoever takes longer only holds one of the few connections.
const WAIT: Duration = Duration::from_secs(10);
/// The fields that an answer depends on.
const WANTED: [&str; 4] = ["host", "content-type", "origin", "sec-fetch-site"];
