//! Replays the committed corpora of the fuzz targets.

#[path = "../fuzz/src/lib.rs"]
pub mod bodies;

use std::fs;
use std::path::Path;

type Body = fn(&[u8]);

/// Every target by name; the names are those of `fuzz/targets` and `fuzz/corpus`.
const ALL: [(&str, Body); 9] = [
    ("capsules", bodies::capsules),
    ("datagrams", bodies::datagrams),
    ("frames", bodies::frames),
    ("qpack_sections", bodies::qpack_sections),
    ("requests", bodies::requests),
    ("responses", bodies::responses),
    ("targets", bodies::targets),
    ("templates", bodies::templates),
    ("uni_streams", bodies::uni_streams),
];

#[test]
fn corpora_are_replayed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    assert_eq!(fs::read_dir(fuzz.join("targets")).unwrap().count(), ALL.len());
    for (name, body) in ALL {
        assert!(fuzz.join("targets").join(name).with_extension("rs").is_file(), "{name}");
        let mut inputs = 0;
        for entry in fs::read_dir(fuzz.join("corpus").join(name)).expect(name) {
            body(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}
