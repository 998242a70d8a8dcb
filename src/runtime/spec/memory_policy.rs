//! `linux.memoryPolicy`: on which nodes of the machine's memory a container allocates.

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

use super::super::error::{Error, Result};
use super::super::plan::MemoryPolicy;

const WHAT: &str = "linux.memoryPolicy";

/// As many as a kernel can be built for.
const MAX_NODES: usize = 1024;

pub(super) fn memory_policy(spec: &LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    let flags = spec.flags().iter().flatten().fold(0, |flags, each| flags | flag(*each));
    let nodes = spec.nodes().as_deref().map(nodes).transpose()?.unwrap_or_default();
    Ok(MemoryPolicy { mode: mode(spec.mode()) | flags, nodes })
}

/// The numbers of the kernel's `MPOL_…`.
const fn mode(mode: MemoryPolicyModeType) -> u32 {
    match mode {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }
}

/// The bits of the kernel's `MPOL_F_…`.
const fn flag(flag: MemoryPolicyFlagType) -> u32 {
    match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    }
}

/// `0-3,7` as a mask of 64-bit words. Which of them the machine has only the kernel knows.
fn nodes(list: &str) -> Result<Vec<u64>> {
    let mut mask: Vec<u64> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|node| *node < MAX_NODES);
        let (Some(first), Some(last)) = (number(first), number(last)) else { return Err(bad_nodes(part)) };
        if first > last {
            return Err(bad_nodes(part));
        }
        for node in first..=last {
            let word = node / 64;
            mask.resize(mask.len().max(word + 1), 0);
            mask[word] |= 1 << (node % 64);
        }
    }
    Ok(mask)
}

fn bad_nodes(part: &str) -> Error {
    Error::invalid(
        WHAT,
        format!("`{}` is no range of nodes between 0 and {}", part.escape_debug(), MAX_NODES - 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_become_a_mask() {
        let table: [(&str, &[u64]); 5] =
            [("", &[]), ("0", &[1]), ("0-2, 5", &[0b10_0111]), ("64", &[0, 1]), ("63-64", &[1 << 63, 1])];
        for (list, mask) in table {
            assert_eq!(nodes(list).unwrap(), mask, "{list}");
        }
        for bad in ["x", "1-", "-1", "3-1", "1024", "0-99999999999", "1\n2"] {
            assert!(nodes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_and_flags_have_the_kernels_numbers() {
        let spec = serde_json::json!({"mode": "MPOL_BIND", "nodes": "0",
            "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES"]});
        let policy = memory_policy(&serde_json::from_value(spec).unwrap()).unwrap();
        assert_eq!(policy, MemoryPolicy { mode: 0x6002, nodes: vec![1] });
    }
}
