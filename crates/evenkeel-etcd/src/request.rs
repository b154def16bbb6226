//! The requests of etcd's JSON gateway, as far as discovery needs them.

use evenkeel_adapter::{Call, Method};
use serde_json::{Value, json};

use crate::wire::encode;

/// Lists keys from `from` up to the end of `prefix`, `limit` at most, at `revision` if given.
#[must_use]
pub fn list(prefix: &str, from: &[u8], limit: u32, revision: Option<u64>) -> Call {
    let mut body = json!({
        "key": encode(from), "range_end": encode(&end_of(prefix)), "limit": limit.to_string(),
    });
    if let Some(revision) = revision {
        body["revision"] = revision.to_string().into();
    }
    post("/v3/kv/range", &body)
}

/// How many keys there are: also a cheap question that only a member with a quorum answers.
#[must_use]
pub fn count(prefix: &str) -> Call {
    let body =
        json!({ "key": encode(prefix.as_bytes()), "range_end": encode(&end_of(prefix)), "count_only": true });
    post("/v3/kv/range", &body)
}

/// Watches `prefix` from `revision` on.
#[must_use]
pub fn watch(prefix: &str, revision: u64) -> Call {
    let create = json!({
        "key": encode(prefix.as_bytes()), "range_end": encode(&end_of(prefix)),
        "start_revision": revision.to_string(), "prev_kv": true, "progress_notify": true,
    });
    post("/v3/watch", &json!({ "create_request": create }))
}

/// Asks for a lease.
#[must_use]
pub fn grant(ttl_secs: u64) -> Call {
    post("/v3/lease/grant", &json!({ "TTL": ttl_secs.to_string() }))
}

/// Renews a lease.
#[must_use]
pub fn keep_alive(lease: u64) -> Call {
    post("/v3/lease/keepalive", &json!({ "ID": lease.to_string() }))
}

/// Gives a lease back, and with it the keys that hang on it.
#[must_use]
pub fn revoke(lease: u64) -> Call {
    post("/v3/lease/revoke", &json!({ "ID": lease.to_string() }))
}

/// Writes a key, under a lease unless that is 0.
#[must_use]
pub fn put(key: &str, value: &str, lease: u64) -> Call {
    let body = json!({
        "key": encode(key.as_bytes()), "value": encode(value.as_bytes()), "lease": lease.to_string(),
    });
    post("/v3/kv/put", &body)
}

/// Deletes a key.
#[must_use]
pub fn delete(key: &str) -> Call {
    post("/v3/kv/deleterange", &json!({ "key": encode(key.as_bytes()) }))
}

/// Deletes a key if it hangs on this lease.
#[must_use]
pub fn delete_if_under(key: &str, lease: u64) -> Call {
    let compare = json!({
        "target": "LEASE", "key": encode(key.as_bytes()), "lease": lease.to_string(),
    });
    let delete = json!({ "request_delete_range": { "key": encode(key.as_bytes()) } });
    post("/v3/kv/txn", &json!({ "compare": [compare], "success": [delete] }))
}

/// Asks whether a key hangs on this lease: the transaction succeeds if so, and otherwise reads the key.
#[must_use]
pub fn is_under(key: &str, lease: u64) -> Call {
    let compare = json!({
        "target": "LEASE", "key": encode(key.as_bytes()), "lease": lease.to_string(),
    });
    let read = json!({ "request_range": { "key": encode(key.as_bytes()) } });
    post("/v3/kv/txn", &json!({ "compare": [compare], "failure": [read] }))
}

/// Asks for a token.
#[must_use]
pub fn authenticate(user: &str, password: &str) -> Call {
    post("/v3/auth/authenticate", &json!({ "name": user, "password": password }))
}

/// The first key after all that start with `prefix`; etcd's `\0` for "no end" if there is none.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn post(path: &str, body: &Value) -> Call {
    Call { method: Method::Post, path: path.to_owned(), body: body.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_gateway() {
        let call = watch("/svc/", 7);
        assert_eq!((call.path.as_str(), call.method), ("/v3/watch", Method::Post));
        assert!(call.body.contains(r#""key":"L3N2Yy8=""#), "{}", call.body);
        assert!(call.body.contains(r#""range_end":"L3N2YzA=""#), "{}", call.body);
        assert!(call.body.contains(r#""start_revision":"7""#), "{}", call.body);
    }

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(end_of("a/"), b"a0");
        assert_eq!(end_of("é"), [0xc3, 0xaa]);
        assert_eq!(end_of(""), [0]);
    }
}
