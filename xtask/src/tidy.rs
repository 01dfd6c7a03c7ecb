//! Rules that the compiler can't check. Each finding names file, line and what to do instead.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::sh;

/// A source file longer than this tells more than one story.
const FILE_LINES_MAX: usize = 700;
const LINE_CHARS_MAX: usize = 100;

/// Where `unsafe` may stand: the kernel ABI, the I/O, the loader and the kernel program.
const UNSAFE_ALLOWED: [&str; 4] = ["ebpf/abi/", "ebpf/program/", "relay/io/", "relay/xdp/"];

pub fn run(_args: &[String]) -> Result<()> {
    let root = sh::root();
    let mut findings = Vec::new();
    let files = tracked_files()?;
    for file in &files {
        let path = Path::new(file);
        let Some(extension) = path.extension().and_then(|e| e.to_str()) else { continue };
        if !matches!(extension, "rs" | "sol" | "toml" | "md" | "sh") || generated(file) {
            continue;
        }
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        check_text(file, extension, &text, &mut findings);
    }
    check_imports(&root, &mut findings)?;
    check_links(&root, &files, &mut findings);
    if findings.is_empty() {
        eprintln!("    tidy: {} files, nothing to say", files.len());
        return Ok(());
    }
    let mut report = String::new();
    for finding in &findings {
        writeln!(report, "{finding}")?;
    }
    bail!("tidy has {} findings:\n{report}", findings.len())
}

fn tracked_files() -> Result<Vec<String>> {
    let list = sh::read(sh::cmd("git").args(["ls-files", "-co", "--exclude-standard"]))?;
    Ok(list.lines().map(str::to_owned).collect())
}

fn generated(file: &str) -> bool {
    file.ends_with(".lock")
        || file.starts_with("ebpf/object/")
        || file.starts_with("relay/vendor/quinn-proto/")
        || file.starts_with("deploy/contracts/artifacts/")
}

fn check_text(file: &str, extension: &str, text: &str, findings: &mut Vec<String>) {
    let lines = text.lines().count();
    if extension == "rs" && lines > FILE_LINES_MAX {
        findings.push(format!(
            "{file}:{lines}: longer than {FILE_LINES_MAX} lines: split it by the stories it tells"
        ));
    }
    let may_be_unsafe = UNSAFE_ALLOWED.iter().any(|dir| file.starts_with(dir));
    for (index, line) in text.lines().enumerate() {
        let mut say = |what: &str| findings.push(format!("{file}:{}: {what}", index + 1));
        // rustfmt and forge fmt see to code; neither wraps a comment.
        if matches!(extension, "rs" | "sol")
            && line.trim_start().starts_with("//")
            && line.chars().count() > LINE_CHARS_MAX
            && !line.contains("http")
        {
            say("a comment longer than 100 columns: wrap it");
        }
        if extension != "toml" && (line.ends_with(' ') || line.ends_with('\t')) {
            say("white space at the end of the line: remove it");
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            say("a merge conflict: resolve it");
        }
        if extension == "rs" && file != "xtask/src/tidy.rs" {
            let code = line.split("//").next().unwrap_or_default();
            if !may_be_unsafe && (code.contains("unsafe {") || code.contains("unsafe fn")) {
                say(
                    "unsafe outside abi, program, io and xdp: move it there behind a safe function",
                );
            }
            if code.contains("#[allow(") || code.contains("#![allow(") {
                say("a bare allow: use #[expect(lint, reason = \"...\")]");
            }
            if line.contains("TODO") || line.contains("FIXME") || code.contains("todo!(") {
                say("unfinished work: do it or file it");
            }
        }
    }
}

/// What each crate may import of the project's own crates: the table in relay/ARCHITECTURE.md
/// between the `imports` fences is the rule, so that page and code can't drift apart.
fn check_imports(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let page = root.join("relay/ARCHITECTURE.md");
    let text = fs::read_to_string(&page).with_context(|| format!("{}", page.display()))?;
    let table = text
        .split("```imports")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("relay/ARCHITECTURE.md has no ```imports table")?;
    let mut seen = BTreeSet::new();
    for row in table.lines().filter(|row| !row.trim().is_empty()) {
        let (dir, allowed) = row
            .split_once(':')
            .with_context(|| format!("relay/ARCHITECTURE.md: `{row}` is not `folder: crates`"))?;
        let dir = dir.trim();
        let allowed: BTreeSet<&str> = allowed.split_whitespace().collect();
        seen.insert(dir.to_owned());
        let manifest = root.join(dir).join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("the import table names {dir}"))?;
        for (index, name) in own_dependencies(&text) {
            if !allowed.contains(name.as_str()) {
                findings.push(format!(
                    "{dir}/Cargo.toml:{index}: {name} is not in this crate's row of the import \
                     table of relay/ARCHITECTURE.md: turn the dependency round or argue the row"
                ));
            }
        }
    }
    for dir in workspace_members(root)? {
        if !seen.contains(&dir) {
            findings.push(format!("relay/ARCHITECTURE.md: the import table has no row for {dir}"));
        }
    }
    Ok(())
}

/// The project's own crates in `[dependencies]`, with their lines; dev-dependencies are free.
fn own_dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut section = "";
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && line.starts_with("weir-") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.push((index + 1, name.to_owned()));
        }
    }
    found
}

fn workspace_members(root: &Path) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let list = manifest
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .context("Cargo.toml has no members")?;
    Ok(list
        .split(',')
        .map(|member| member.trim().trim_matches('"').to_owned())
        .filter(|member| !member.is_empty())
        .collect())
}

/// Relative links of the project's pages lead to files that are there.
fn check_links(root: &Path, files: &[String], findings: &mut Vec<String>) {
    for file in files.iter().filter(|file| file.ends_with(".md")) {
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        let folder = Path::new(file).parent().map(PathBuf::from).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = link.split('#').next().unwrap_or_default();
                if path.is_empty() || path.contains("://") || path.contains(' ') {
                    continue;
                }
                if !root.join(&folder).join(path).exists() {
                    findings.push(format!("{file}:{}: the link to {path} is dead", index + 1));
                }
            }
        }
    }
}
