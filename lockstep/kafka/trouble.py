"""Kafka's errors by number: what helps against each. The only place that says so.

Brokers number their errors from -1 up, librdkafka its own from -199 to -137. kafka-python gives
a broker's errors the broker's numbers; its own have none, and say themselves whether to retry.
"""

from __future__ import annotations

from typing import Any

from lockstep.trouble import Trouble

__all__ = ["CODES", "LOG_MOVED", "MAYBE_NO_TOPIC", "code_trouble", "kafka_trouble"]

_PASSING = {
    -196: "_FAIL",
    -195: "_TRANSPORT",
    -194: "_CRIT_SYS_RESOURCE",
    -193: "_RESOLVE",
    -192: "_MSG_TIMED_OUT",
    -191: "_PARTITION_EOF",  # no error: the end of the log
    -190: "_UNKNOWN_PARTITION",  # not in the metadata yet
    -188: "_UNKNOWN_TOPIC",  # likewise
    -187: "_ALL_BROKERS_DOWN",
    -185: "_TIMED_OUT",
    -184: "_QUEUE_FULL",
    -183: "_ISR_INSUFF",
    -182: "_NODE_UPDATE",
    -181: "_SSL",  # also a broker that goes away during the handshake
    -180: "_WAIT_COORD",
    -178: "_IN_PROGRESS",
    -177: "_PREV_IN_PROGRESS",
    -175: "_ASSIGN_PARTITIONS",
    -174: "_REVOKE_PARTITIONS",
    -167: "_OUTDATED",
    -166: "_TIMED_OUT_QUEUE",
    -164: "_WAIT_CACHE",
    -163: "_INTR",
    -158: "_PARTIAL",
    -156: "_NOENT",  # no leader in the metadata
    -153: "_RETRY",
    -147: "_MAX_POLL_EXCEEDED",  # the client joins its group again
    -146: "_UNKNOWN_BROKER",
    -142: "_ASSIGNMENT_LOST",  # likewise
    -141: "_NOOP",
    -138: "_INVALID_DIFFERENT_RECORD",  # a neighbour of one that is refused
    -137: "_DESTROY_BROKER",
    -1: "UNKNOWN",  # an error inside the broker, as when it is going down
    0: "NO_ERROR",
    2: "INVALID_MSG",  # damaged on the way
    3: "UNKNOWN_TOPIC_OR_PART",  # who asked the topic's description knows better
    5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_FOR_PARTITION",
    7: "REQUEST_TIMED_OUT",
    8: "BROKER_NOT_AVAILABLE",
    9: "REPLICA_NOT_AVAILABLE",
    11: "STALE_CTRL_EPOCH",
    13: "NETWORK_EXCEPTION",
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    19: "NOT_ENOUGH_REPLICAS",
    20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    22: "ILLEGAL_GENERATION",  # likewise
    25: "UNKNOWN_MEMBER_ID",  # likewise
    27: "REBALANCE_IN_PROGRESS",  # likewise
    41: "NOT_CONTROLLER",
    45: "OUT_OF_ORDER_SEQUENCE_NUMBER",  # of a producer; one that cannot go on says `fatal`
    46: "DUPLICATE_SEQUENCE_NUMBER",  # it is there already
    51: "CONCURRENT_TRANSACTIONS",
    56: "KAFKA_STORAGE_ERROR",
    59: "UNKNOWN_PRODUCER_ID",  # of a producer
    60: "REASSIGNMENT_IN_PROGRESS",
    70: "FETCH_SESSION_ID_NOT_FOUND",
    71: "INVALID_FETCH_SESSION_EPOCH",
    72: "LISTENER_NOT_FOUND",
    74: "FENCED_LEADER_EPOCH",
    75: "UNKNOWN_LEADER_EPOCH",
    77: "STALE_BROKER_EPOCH",
    78: "OFFSET_NOT_AVAILABLE",
    79: "MEMBER_ID_REQUIRED",
    80: "PREFERRED_LEADER_NOT_AVAILABLE",
    83: "ELIGIBLE_LEADERS_NOT_AVAILABLE",
    84: "ELECTION_NOT_NEEDED",
    88: "UNSTABLE_OFFSET_COMMIT",
    89: "THROTTLING_QUOTA_EXCEEDED",
    100: "UNKNOWN_TOPIC_ID",
    103: "INCONSISTENT_TOPIC_ID",
    106: "FETCH_SESSION_TOPIC_ID_ERROR",
    108: "NEW_LEADER_ELECTED",
    110: "FENCED_MEMBER_EPOCH",  # likewise
    113: "STALE_MEMBER_EPOCH",  # likewise
    122: "SHARE_SESSION_NOT_FOUND",
    123: "INVALID_SHARE_SESSION_EPOCH",
    124: "FENCED_STATE_EPOCH",
    129: "REBOOTSTRAP_REQUIRED",
    133: "SHARE_SESSION_LIMIT_REACHED",
}
_OWN = {
    -199: "_BAD_MSG",  # cannot be read
    -198: "_BAD_COMPRESSION",
    -162: "_KEY_SERIALIZATION",
    -161: "_VALUE_SERIALIZATION",
    -160: "_KEY_DESERIALIZATION",
    -159: "_VALUE_DESERIALIZATION",
    10: "MSG_SIZE_TOO_LARGE",  # a record
    18: "RECORD_LIST_TOO_LARGE",  # a batch, which may be one record
    32: "INVALID_TIMESTAMP",
    87: "INVALID_RECORD",
}
_FINAL = {
    -197: "_DESTROY",
    -189: "_FS",
    -186: "_INVALID_ARG",
    -179: "_UNKNOWN_GROUP",
    -176: "_EXISTING_SUBSCRIPTION",
    -173: "_CONFLICT",
    -172: "_STATE",
    -171: "_UNKNOWN_PROTOCOL",
    -170: "_NOT_IMPLEMENTED",
    -169: "_AUTHENTICATION",
    -168: "_NO_OFFSET",
    -165: "_UNSUPPORTED_FEATURE",
    -157: "_READ_ONLY",
    -155: "_UNDERFLOW",
    -154: "_INVALID_TYPE",
    -152: "_PURGE_QUEUE",
    -151: "_PURGE_INFLIGHT",
    -150: "_FATAL",
    -149: "_INCONSISTENT",
    -148: "_GAPLESS_GUARANTEE",
    -145: "_NOT_CONFIGURED",
    -144: "_FENCED",
    -143: "_APPLICATION",
    -140: "_AUTO_OFFSET_RESET",
    -139: "_LOG_TRUNCATION",
    1: "OFFSET_OUT_OF_RANGE",
    4: "INVALID_MSG_SIZE",
    12: "OFFSET_METADATA_TOO_LARGE",
    17: "TOPIC_EXCEPTION",
    21: "INVALID_REQUIRED_ACKS",
    23: "INCONSISTENT_GROUP_PROTOCOL",
    24: "INVALID_GROUP_ID",
    26: "INVALID_SESSION_TIMEOUT",
    28: "INVALID_COMMIT_OFFSET_SIZE",
    29: "TOPIC_AUTHORIZATION_FAILED",
    30: "GROUP_AUTHORIZATION_FAILED",
    31: "CLUSTER_AUTHORIZATION_FAILED",
    33: "UNSUPPORTED_SASL_MECHANISM",
    34: "ILLEGAL_SASL_STATE",
    35: "UNSUPPORTED_VERSION",
    36: "TOPIC_ALREADY_EXISTS",
    37: "INVALID_PARTITIONS",
    38: "INVALID_REPLICATION_FACTOR",
    39: "INVALID_REPLICA_ASSIGNMENT",
    40: "INVALID_CONFIG",
    42: "INVALID_REQUEST",
    43: "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    44: "POLICY_VIOLATION",
    47: "INVALID_PRODUCER_EPOCH",
    48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING",
    50: "INVALID_TRANSACTION_TIMEOUT",
    52: "TRANSACTION_COORDINATOR_FENCED",
    53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    54: "SECURITY_DISABLED",
    55: "OPERATION_NOT_ATTEMPTED",
    57: "LOG_DIR_NOT_FOUND",
    58: "SASL_AUTHENTICATION_FAILED",
    61: "DELEGATION_TOKEN_AUTH_DISABLED",
    62: "DELEGATION_TOKEN_NOT_FOUND",
    63: "DELEGATION_TOKEN_OWNER_MISMATCH",
    64: "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    65: "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    66: "DELEGATION_TOKEN_EXPIRED",
    67: "INVALID_PRINCIPAL_TYPE",
    68: "NON_EMPTY_GROUP",
    69: "GROUP_ID_NOT_FOUND",
    73: "TOPIC_DELETION_DISABLED",
    76: "UNSUPPORTED_COMPRESSION_TYPE",
    81: "GROUP_MAX_SIZE_REACHED",
    82: "FENCED_INSTANCE_ID",
    85: "NO_REASSIGNMENT_IN_PROGRESS",
    86: "GROUP_SUBSCRIBED_TO_TOPIC",
    90: "PRODUCER_FENCED",
    91: "RESOURCE_NOT_FOUND",
    92: "DUPLICATE_RESOURCE",
    93: "UNACCEPTABLE_CREDENTIAL",
    94: "INCONSISTENT_VOTER_SET",
    95: "INVALID_UPDATE_VERSION",
    96: "FEATURE_UPDATE_FAILED",
    97: "PRINCIPAL_DESERIALIZATION_FAILURE",
    98: "SNAPSHOT_NOT_FOUND",
    99: "POSITION_OUT_OF_RANGE",
    101: "DUPLICATE_BROKER_REGISTRATION",
    102: "BROKER_ID_NOT_REGISTERED",
    104: "INCONSISTENT_CLUSTER_ID",
    105: "TRANSACTIONAL_ID_NOT_FOUND",
    107: "INELIGIBLE_REPLICA",
    109: "OFFSET_MOVED_TO_TIERED_STORAGE",
    111: "UNRELEASED_INSTANCE_ID",
    112: "UNSUPPORTED_ASSIGNOR",
    114: "MISMATCHED_ENDPOINT_TYPE",
    115: "UNSUPPORTED_ENDPOINT_TYPE",
    116: "UNKNOWN_CONTROLLER_ID",
    117: "UNKNOWN_SUBSCRIPTION_ID",
    118: "TELEMETRY_TOO_LARGE",
    119: "INVALID_REGISTRATION",
    120: "TRANSACTION_ABORTABLE",
    121: "INVALID_RECORD_STATE",
    125: "INVALID_VOTER_KEY",
    126: "DUPLICATE_VOTER",
    127: "VOTER_NOT_FOUND",
    128: "INVALID_REGULAR_EXPRESSION",
    130: "STREAMS_INVALID_TOPOLOGY",
    131: "STREAMS_INVALID_TOPOLOGY_EPOCH",
    132: "STREAMS_TOPOLOGY_FENCED",
}

CODES = {
    **dict.fromkeys(_PASSING, Trouble.PASSING),
    **dict.fromkeys(_OWN, Trouble.OWN),
    **dict.fromkeys(_FINAL, Trouble.FINAL),
}

MAYBE_NO_TOPIC = frozenset({3, 100, -156, -188, -190})
"""Said of a topic that is missing, and of one that a broker has not heard of yet."""

LOG_MOVED = frozenset({1, -139, -140})
"""Said when a partition does not hold the offset that comes next."""


def code_trouble(code: int) -> Trouble:
    """Of an error's number. One that only a newer broker knows is final: it may never pass."""
    return CODES.get(code, Trouble.FINAL)


def kafka_trouble(error: Any) -> Trouble:
    """Of a KafkaError or KafkaException of confluent-kafka, or of any error of kafka-python."""
    cause = error.args[0] if isinstance(error, Exception) and error.args else error
    if hasattr(cause, "code"):
        return Trouble.FINAL if cause.fatal() else code_trouble(cause.code())
    number = getattr(error, "errno", None)
    if number is not None:
        return code_trouble(number)
    return Trouble.PASSING if getattr(error, "retriable", False) else Trouble.FINAL
