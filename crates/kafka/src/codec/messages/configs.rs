//! Configuration of topics and brokers; log directories.

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;

schema! {
    /// Request of DescribeConfigs.
    message DescribeConfigsRequest key 32 [1..=4] flexible 4 {
        resources: Vec<DescribeConfigsResource> [0+],
        include_synonyms: bool [1+],
        include_documentation: bool [3+],
    }

    /// The resources whose configurations we want to describe.
    part DescribeConfigsResource {
        resource_type: i8 [0+],
        resource_name: String [0+],
        configuration_keys: Option<Vec<String>> [0+] nullable [0+],
    }

    /// Response of DescribeConfigs.
    message DescribeConfigsResponse key 32 [1..=4] flexible 4 {
        throttle_time_ms: i32 [0+],
        results: Vec<DescribeConfigsResult> [0+],
    }

    /// The results for each resource.
    part DescribeConfigsResult {
        error_code: ErrorCode [0+],
        error_message: Option<String> [0+] nullable [0+],
        resource_type: i8 [0+],
        resource_name: String [0+],
        configs: Vec<DescribeConfigsResourceResult> [0+],
    }

    /// Each listed configuration.
    part DescribeConfigsResourceResult {
        name: String [0+],
        value: Option<String> [0+] nullable [0+],
        read_only: bool [0+],
        config_source: i8 [1+] = -1,
        is_sensitive: bool [0+],
        synonyms: Vec<DescribeConfigsSynonym> [1+],
        config_type: i8 [3+],
        documentation: Option<String> [3+] nullable [0+],
    }

    /// The synonyms for this configuration key.
    part DescribeConfigsSynonym {
        name: String [1+],
        value: Option<String> [1+] nullable [0+],
        source: i8 [1+],
    }

    /// Request of AlterConfigs.
    message AlterConfigsRequest key 33 [0..=2] flexible 2 {
        resources: Vec<AlterConfigsResource> [0+],
        validate_only: bool [0+],
    }

    /// The updates for each resource.
    part AlterConfigsResource {
        resource_type: i8 [0+],
        resource_name: String [0+],
        configs: Vec<AlterableConfig> [0+],
    }

    /// The configurations.
    part AlterableConfig {
        name: String [0+],
        value: Option<String> [0+] nullable [0+],
    }

    /// Response of AlterConfigs.
    message AlterConfigsResponse key 33 [0..=2] flexible 2 {
        throttle_time_ms: i32 [0+],
        responses: Vec<AlterConfigsResult> [0+],
    }

    /// The responses for each resource.
    part AlterConfigsResult {
        error_code: ErrorCode [0+],
        error_message: Option<String> [0+] nullable [0+],
        resource_type: i8 [0+],
        resource_name: String [0+],
    }

    /// Request of IncrementalAlterConfigs.
    message IncrementalAlterConfigsRequest key 44 [0..=1] flexible 1 {
        resources: Vec<IncrementalAlterConfigsResource> [0+],
        validate_only: bool [0+],
    }

    /// The incremental updates for each resource.
    part IncrementalAlterConfigsResource {
        resource_type: i8 [0+],
        resource_name: String [0+],
        configs: Vec<IncrementalAlterableConfig> [0+],
    }

    /// The configurations.
    part IncrementalAlterableConfig {
        name: String [0+],
        config_operation: i8 [0+],
        value: Option<String> [0+] nullable [0+],
    }

    /// Response of IncrementalAlterConfigs.
    message IncrementalAlterConfigsResponse key 44 [0..=1] flexible 1 {
        throttle_time_ms: i32 [0+],
        responses: Vec<IncrementalAlterConfigsResult> [0+],
    }

    /// The responses for each resource.
    part IncrementalAlterConfigsResult {
        error_code: ErrorCode [0+],
        error_message: Option<String> [0+] nullable [0+],
        resource_type: i8 [0+],
        resource_name: String [0+],
    }

    /// Request of DescribeLogDirs.
    message DescribeLogDirsRequest key 35 [1..=4] flexible 2 {
        topics: Option<Vec<DescribableLogDirTopic>> [0+] nullable [0+],
    }

    /// Each topic that we want to describe log directories for, or null for all topics.
    part DescribableLogDirTopic {
        topic: String [0+],
        partitions: Vec<i32> [0+],
    }

    /// Response of DescribeLogDirs.
    message DescribeLogDirsResponse key 35 [1..=4] flexible 2 {
        throttle_time_ms: i32 [0+],
        error_code: ErrorCode [3+],
        results: Vec<DescribeLogDirsResult> [0+],
    }

    /// The log directories.
    part DescribeLogDirsResult {
        error_code: ErrorCode [0+],
        log_dir: String [0+],
        topics: Vec<DescribeLogDirsTopic> [0+],
        total_bytes: i64 [4+] = -1,
        usable_bytes: i64 [4+] = -1,
    }

    /// Each topic.
    part DescribeLogDirsTopic {
        name: String [0+],
        partitions: Vec<DescribeLogDirsPartition> [0+],
    }

    /// DescribeLogDirsPartition.
    part DescribeLogDirsPartition {
        partition_index: i32 [0+],
        partition_size: i64 [0+],
        offset_lag: i64 [0+],
        is_future_key: bool [0+],
    }
}
