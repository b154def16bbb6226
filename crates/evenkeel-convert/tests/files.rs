//! Whole configurations with what must come of them: the files beside them. To write them anew after a change, and read the
//! difference: `EVENKEEL_BLESS=1 cargo test -p evenkeel-convert --test files`.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use evenkeel_convert::{Dialect, Options, Setup, read_file, write};

#[test]
fn files_become_what_stands_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for (from, file) in [
        (Dialect::Nginx, "nginx/shop.conf"),
        (Dialect::Nginx, "nginx/stream.conf"),
        (Dialect::Haproxy, "haproxy/shop.cfg"),
        (Dialect::Envoy, "envoy/shop.yaml"),
        (Dialect::Envoy, "envoy/one_cluster.json"),
    ] {
        let path = folder.join(file);
        let conversion = read_file(from, &path, &Options::default()).unwrap();
        let toml = conversion.setup.to_toml().unwrap();
        let again = Setup::from_toml(&toml, "again.toml").unwrap();
        assert_eq!(again.to_toml().unwrap(), toml, "{file}: what is written is what is read");
        let root = format!("{}/", folder.display());
        let report = format!("{}\n", conversion.report).replace(&root, "");
        expect(&path.with_extension("expected.toml"), &toml);
        expect(&path.with_extension("report"), &report);
        for to in [Dialect::Nginx, Dialect::Haproxy, Dialect::Envoy] {
            let written = write(to, &conversion.setup);
            let text = format!("{}\n# report\n{}\n", written.text, written.report);
            expect(&path.with_extension(format!("to_{to}")), &text);
        }
    }
}

fn expect(path: &Path, found: &str) {
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if let Some(line) = found.lines().zip(expected.lines()).position(|(a, b)| a != b) {
        let pair = (found.lines().nth(line), expected.lines().nth(line));
        panic!("{} line {}: {pair:?}", path.display(), line + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{}", path.display());
}
