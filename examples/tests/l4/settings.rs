//! What can be written down.

use std::path::Path;

use evenkeel_config::Loaded;
use evenkeel_examples::l4::{Proxy, Settings};

#[test]
fn the_example_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/l4.toml");
    let loaded = Loaded::load(path).unwrap();
    assert!(loaded.check().unwrap().is_empty());
    Proxy::check(&loaded).unwrap();
    let settings: Settings = loaded.program().unwrap();
    assert!(settings.listeners["tls"].accept_proxy.is_some());
}
