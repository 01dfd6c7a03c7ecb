//! What is committed of a compiled contract.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// The contracts whose artefacts are committed. TestToken is for local chains only.
pub(crate) const CONTRACTS: [&str; 4] = ["ExitEscrow", "OperatorBond", "UsageAnchor", "TestToken"];

/// The artefact of a contract, from what forge wrote to `out`: ABI, bytecode, compiler, settings,
/// and the hash of every source that went into it.
pub(crate) fn pack(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(format!("out/{name}.sol/{name}.json"));
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("forge didn't write {}", path.display()))?;
    let built: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let get = |pointer: &str| {
        built
            .pointer(pointer)
            .cloned()
            .with_context(|| format!("{} has no {pointer}", path.display()))
    };
    let mut sources = Map::new();
    for (source, about) in get("/metadata/sources")?.as_object().into_iter().flatten() {
        sources.insert(source.clone(), about["keccak256"].clone());
    }
    if sources.is_empty() {
        bail!("{} names no sources", path.display());
    }
    let artifact = json!({
        "contract": name,
        "compiler": get("/metadata/compiler/version")?,
        "settings": get("/metadata/settings")?,
        "sources": sources,
        "abi": get("/abi")?,
        "bytecode": get("/bytecode/object")?,
        "deployedBytecode": get("/deployedBytecode/object")?,
    });
    Ok(serde_json::to_string_pretty(&artifact)? + "\n")
}

/// The top-level fields in which two artefacts differ.
pub(crate) fn differences(committed: &str, built: &str) -> String {
    let parse = |text| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let (committed, built) = (parse(committed), parse(built));
    let mut fields: Vec<&str> = committed.keys().chain(built.keys()).map(String::as_str).collect();
    fields.sort_unstable();
    fields.dedup();
    fields.retain(|field| committed.get(*field) != built.get(*field));
    if fields.is_empty() { "formatting only".to_owned() } else { fields.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_fields() {
        let old = r#"{"abi": [], "bytecode": "0x00", "compiler": "1"}"#;
        let new = r#"{"abi": [], "bytecode": "0x01", "contract": "A", "compiler": "1"}"#;
        assert_eq!(differences(old, new), "bytecode, contract");
        assert_eq!(differences(old, &old.replace(' ', "")), "formatting only");
    }
}
