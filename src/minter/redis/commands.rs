//! Which commands a catalogue may hand out: those of which Redis checks each key or channel against the user's patterns, and that
//! neither administer the server nor leave code in it. A list of what is allowed, so that what a server adds is not.

/// In lower case, a subcommand after `|`. Not among them, though harmless by their category: `scan`, `randomkey`, `dbsize` and
/// `pubsub|channels`, which show names whatever the patterns; `copy`, `move` and `select`, which reach the other databases.
const ALLOWED: &[&str] = &[
    // Texts and numbers.
    "append incr incrby incrbyfloat decr decrby get getdel getex getrange getset lcs mget mset msetnx psetex set setex setnx",
    "setrange strlen substr",
    // Bits.
    "bitcount bitfield bitfield_ro bitop bitpos getbit setbit",
    // Keys.
    "del dump exists expire expireat expiretime object|encoding object|freq object|idletime object|refcount persist pexpire",
    "pexpireat pexpiretime pttl rename renamenx touch ttl type unlink",
    // Hashes.
    "hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals",
    // Lists.
    "blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim rpop",
    "rpoplpush rpush rpushx",
    // Sets.
    "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop srandmember srem sscan",
    "sunion sunionstore",
    // Sorted sets.
    "bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore",
    "zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank",
    "zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore",
    // Places.
    "geoadd geodist geohash geopos geosearch geosearchstore",
    // Estimates.
    "pfadd pfcount pfmerge",
    // Streams.
    "xack xadd xautoclaim xclaim xdel xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|setid",
    "xinfo|consumers xinfo|groups xinfo|stream xlen xpending xrange xread xreadgroup xrevrange xtrim",
    // Channels.
    "publish subscribe unsubscribe psubscribe punsubscribe spublish ssubscribe sunsubscribe",
    // Transactions and the connection itself.
    "multi exec discard watch unwatch ping echo client|getname client|id client|setinfo client|setname",
];

/// Whether a catalogue may name it.
pub(super) fn is_allowed(command: &str) -> bool {
    ALLOWED.iter().flat_map(|line| line.split(' ')).any(|allowed| allowed == command)
}
