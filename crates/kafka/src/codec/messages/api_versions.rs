//! ApiVersions (KIP-35, KIP-511, KIP-584).

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;

schema! {
    /// Request of ApiVersions.
    message ApiVersionsRequest key 18 [0..=4] flexible 3 {
        client_software_name: String [3+],
        client_software_version: String [3+],
    }

    /// Response of ApiVersions.
    message ApiVersionsResponse key 18 [0..=4] flexible 3 {
        error_code: ErrorCode [0+],
        api_keys: Vec<ApiVersion> [0+],
        throttle_time_ms: i32 [1+],
        supported_features: Vec<SupportedFeatureKey> [3+] tag 0,
        finalized_features_epoch: i64 [3+] tag 1 = -1,
        finalized_features: Vec<FinalizedFeatureKey> [3+] tag 2,
        zk_migration_ready: bool [3+] tag 3,
    }

    /// The APIs supported by the broker.
    part ApiVersion {
        api_key: i16 [0+],
        min_version: i16 [0+],
        max_version: i16 [0+],
    }

    /// A feature that the broker supports.
    part SupportedFeatureKey {
        name: String [3+],
        min_version: i16 [3+],
        max_version: i16 [3+],
    }

    /// A feature that the cluster has settled on.
    part FinalizedFeatureKey {
        name: String [3+],
        max_version_level: i16 [3+],
        min_version_level: i16 [3+],
    }
}
