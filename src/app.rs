//! The composition root.

/// Runs.
pub fn serve(_: &std::path::Path) -> anyhow::Result<()> { anyhow::bail!("x") }
