//! The cards that an owner says a host has.

use serde::{Deserialize, Serialize};

/// Most kinds of cards of one host, most of a kind, and the longest name, in bytes.
const KINDS_MAX: usize = 16;
const COUNT_MAX: u32 = 64;
const NAME_MAX_BYTES: usize = 64;

/// Largest memory of a card that may be declared, in MiB: 16 TiB.
const MEMORY_MAX_MIB: u64 = 1 << 24;

/// Cards of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredGpu {
    /// What they are, as in `RTX 4090`: 1 to 64 printable characters.
    pub name: String,
    /// How many, 1 to 64.
    pub count: u32,
    /// Memory of each, at most 16 TiB; 0 is not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_mib: u64,
}

impl DeclaredGpu {
    /// Whether a declaration of a whole host is within its bounds.
    ///
    /// # Errors
    /// A sentence that names the card and the bound.
    pub fn check(declared: &[Self]) -> Result<(), String> {
        if declared.len() > KINDS_MAX {
            return Err(format!("at most {KINDS_MAX} kinds of cards"));
        }
        for Self { name, count, memory_mib } in declared {
            let printable = name.bytes().all(|b| (0x20..0x7f).contains(&b));
            if name.trim().is_empty() || name.len() > NAME_MAX_BYTES || !printable {
                return Err(format!("a card's name is 1 to {NAME_MAX_BYTES} printable characters"));
            }
            if !(1..=COUNT_MAX).contains(count) {
                return Err(format!("{name}: count is 1 to {COUNT_MAX}"));
            }
            if *memory_mib > MEMORY_MAX_MIB {
                return Err(format!("{name}: memory_mib is at most {MEMORY_MAX_MIB}"));
            }
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_zero(mib: &u64) -> bool {
    *mib == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, count: u32, memory_mib: u64) -> DeclaredGpu {
        DeclaredGpu { name: name.to_owned(), count, memory_mib }
    }

    #[test]
    fn declarations_are_bounded() {
        assert!(DeclaredGpu::check(&[gpu("RTX 4090", 64, 24_576)]).is_ok());
        for bad in [
            gpu("", 1, 0),
            gpu(" ", 1, 0),
            gpu(&"x".repeat(65), 1, 0),
            gpu("a\nb", 1, 0),
            gpu("a", 0, 0),
            gpu("a", 65, 0),
            gpu("a", 1, u64::MAX),
        ] {
            assert!(DeclaredGpu::check(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        assert!(DeclaredGpu::check(&vec![gpu("a", 1, 0); 17]).is_err());
    }
}
