/*
 * members.c - a cluster whose members come and go: one becomes three, roles and addresses change, one that is lost is
 * replaced, one is removed and hears of it; and all that almadia_members_change refuses.
 */
#include "cluster.h"

#include <pthread.h>

enum { NODES = 5, HANG_MS = 60000 };

/* Where node N is reached, at N. */
static char addresses[NODES + 1][32];

static void choose_addresses(void)
{
    int ports[2 * MEMBERS];
    reserve_ports(ports);
    reserve_ports(ports + MEMBERS);
    for (int node = 1; node <= NODES; node++)
        snprintf(addresses[node], sizeof addresses[node], "127.0.0.1:%d", ports[node]);
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t removed;
    int answered;
    almadia_code code;
} seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};

static void on_event(void *user, const almadia_store_event *event)
{
    CHECK(user == &seen);
    if (event->kind != ALMADIA_STORE_EVENT_REMOVED)
        return;
    CHECK(event->code == ALMADIA_OK && event->region_id == 0 && event->leader_id == 0);
    pthread_mutex_lock(&seen.lock);
    seen.removed = event->node_id;
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_done(void *user, almadia_completion *completion)
{
    CHECK(user == &seen && almadia_completion_index(completion) == 0);
    pthread_mutex_lock(&seen.lock);
    seen.answered++;
    seen.code = almadia_completion_code(completion);
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static almadia_code next_answer(void)
{
    pthread_mutex_lock(&seen.lock);
    while (seen.answered == 0)
        pthread_cond_wait(&seen.changed, &seen.lock);
    seen.answered--;
    almadia_code code = seen.code;
    pthread_mutex_unlock(&seen.lock);
    return code;
}

/* The first member is there alone; each other one joins through two others. */
static almadia_store *open_node(const char *path, int node)
{
    almadia_error *error = NULL;
    almadia_config *config = member_config(node, NULL);
    char number[16], join[80];
    snprintf(number, sizeof number, "%d", node);
    snprintf(join, sizeof join, "%s,%s", addresses[1], addresses[2]);
    set_option(config, "cluster.node_id", number);
    set_option(config, "transport.announce", addresses[node]);
    if (node > 1)
        set_option(config, "cluster.join", join);
    set_option(config, "raft.election_timeout_ms", "3000");
    CHECK_OK(almadia_config_set_event_callback(config, on_event, &seen, &error));
    return open_configured(path, node, config);
}

static almadia_member_change change_of(almadia_member_change_kind kind, uint64_t node)
{
    almadia_member_change change = ALMADIA_MEMBER_CHANGE_INIT;
    change.kind = kind;
    change.node_id = node;
    return change;
}

static almadia_member_change add(uint64_t node, const char *address)
{
    almadia_member_change change = change_of(ALMADIA_MEMBER_CHANGE_ADD, node);
    change.address = address;
    return change;
}

static void make(almadia_store *store, const almadia_member_change *change)
{
    almadia_error *error = NULL;
    CHECK_OK(almadia_members_change(store, change, 1, HANG_MS, &error));
}

static almadia_members *list_of(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_members *members = NULL;
    CHECK_OK(almadia_members_list(store, &members, &error));
    return members;
}

static uint64_t version_of(almadia_store *store)
{
    almadia_members *members = list_of(store);
    uint64_t version = almadia_members_version(members);
    almadia_members_free(members);
    return version;
}

/* The member with this number; all is 0 if there is none. Its texts end with its list, so they are not returned. */
static almadia_member member_of(almadia_store *store, uint64_t node)
{
    almadia_members *members = list_of(store);
    almadia_member member = ALMADIA_MEMBER_INIT;
    const almadia_member none = ALMADIA_MEMBER_INIT;
    size_t at = 0;
    while (almadia_members_at(members, at, &member) == ALMADIA_OK && member.node_id != node)
        at++;
    if (at == almadia_members_count(members))
        member = none;
    member.address = member.version = NULL;
    almadia_members_free(members);
    return member;
}

static bool has_said_its_version(almadia_store *store, size_t at)
{
    almadia_members *members = list_of(store);
    almadia_member member = ALMADIA_MEMBER_INIT;
    bool same = almadia_members_at(members, at, &member) == ALMADIA_OK &&
                strcmp(member.version, almadia_version_string()) == 0;
    almadia_members_free(members);
    return same;
}

static bool has_address(almadia_store *store, size_t at, const char *address)
{
    almadia_members *members = list_of(store);
    almadia_member member = ALMADIA_MEMBER_INIT;
    bool same = almadia_members_at(members, at, &member) == ALMADIA_OK && strcmp(member.address, address) == 0;
    almadia_members_free(members);
    return same;
}

/* A refusal changes nothing and says why. */
static void refuses(almadia_store *store, const almadia_member_change *changes, size_t count, const char *reason)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    uint64_t version = version_of(store);
    done.callback = on_done;
    done.user = &seen;

    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_members_change(store, changes, count, HANG_MS, &error));
    if (strstr(almadia_error_message(error), reason) == NULL) {
        fprintf(stderr, "'%s' does not say '%s'\n", almadia_error_message(error), reason);
        _Exit(1);
    }
    almadia_error_free(error);
    /* What needs no look at the list is refused at once, the rest with the completion. */
    almadia_code code = almadia_members_change_async(store, changes, count, HANG_MS, &done, NULL);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, code == ALMADIA_OK ? next_answer() : code);
    CHECK(version_of(store) == version);
}

static void refuses_one(almadia_store *store, almadia_member_change change, const char *reason)
{
    refuses(store, &change, 1, reason);
}

static void one_member_lists_itself(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_members *members = list_of(store);
    almadia_member member = ALMADIA_MEMBER_INIT;

    CHECK(almadia_members_version(members) == 0 && almadia_members_count(members) == 1);
    CHECK(strcmp(almadia_members_unsettled(members), "") == 0);
    CHECK_CODE(ALMADIA_OK, almadia_members_at(members, 0, &member));
    CHECK(member.struct_size == sizeof member && member.node_id == 1 && strcmp(member.address, addresses[1]) == 0);
    CHECK(member.role == ALMADIA_MEMBER_VOTER && member.is_preferred == 0 && member.is_live == 1);
    CHECK(member.settled_regions == 1 && member.led_regions == 1 && member.lag_entries == 0 && member.is_drained == 0);
    CHECK(member.last_heard_ms == 0 && strcmp(member.version, almadia_version_string()) == 0);
    CHECK_CODE(ALMADIA_END, almadia_members_at(members, 1, &member));
    CHECK_CODE(ALMADIA_END, almadia_members_at(members, SIZE_MAX, &member));
    CHECK(member.node_id == 1);
    almadia_members_free(members);
    CHECK_OK(almadia_store_wait_ready(store, HANG_MS, &error));
    CHECK_OK(almadia_members_change(store, NULL, 0, HANG_MS, &error));
}

static void what_a_field_cannot_be_is_refused(almadia_store *store)
{
    almadia_member_change change = add(2, addresses[2]);
    change.kind = 0;
    refuses_one(store, change, "almadia_member_change.kind is 0");
    change.kind = ALMADIA_MEMBER_CHANGE_DRAIN + 1;
    refuses_one(store, change, "almadia_member_change.kind is 9");
    change.kind = -1;
    refuses_one(store, change, "almadia_member_change.kind is -1");
    change = add(2, addresses[2]);
    change.role = 2;
    refuses_one(store, change, "almadia_member_change.role is 2");
    change = change_of(ALMADIA_MEMBER_CHANGE_PREFER, 1);
    change.is_preferred = 2;
    refuses_one(store, change, "almadia_member_change.is_preferred is 2");
    change = change_of(ALMADIA_MEMBER_CHANGE_DRAIN, 1);
    change.is_drained = -1;
    refuses_one(store, change, "almadia_member_change.is_drained is -1");
    refuses_one(store, add(2, "\xff\xfe:7000"), "almadia_member_change.address is not UTF-8");
}

static void what_a_kind_does_not_use_is_refused(almadia_store *store)
{
    almadia_member_change change = change_of(ALMADIA_MEMBER_CHANGE_REMOVE, 1);
    change.role = ALMADIA_MEMBER_LEARNER;
    refuses_one(store, change, "almadia_member_change.role is set");
    change = change_of(ALMADIA_MEMBER_CHANGE_DEMOTE, 1);
    change.by_id = 2;
    refuses_one(store, change, "almadia_member_change.by_id is set");
    change = change_of(ALMADIA_MEMBER_CHANGE_PROMOTE, 1);
    change.address = addresses[1];
    refuses_one(store, change, "almadia_member_change.address is set");
    change = add(2, addresses[2]);
    change.is_preferred = 1;
    refuses_one(store, change, "almadia_member_change.is_preferred is set");
    change = add(2, addresses[2]);
    change.is_drained = 1;
    refuses_one(store, change, "almadia_member_change.is_drained is set");
}

static void what_contradicts_the_list_is_refused(almadia_store *store)
{
    char endless[400];
    memset(endless, 'a', sizeof endless);
    memcpy(endless + sizeof endless - 6, ":7000", 6);
    refuses_one(store, add(1, addresses[2]), "is a member already");
    refuses_one(store, add(0, addresses[2]), "the next free one is 2");
    refuses_one(store, add(UINT64_MAX, addresses[2]), "the next free one is 2");
    refuses_one(store, change_of(ALMADIA_MEMBER_CHANGE_REMOVE, 7), "node 7 is no member");
    refuses_one(store, change_of(ALMADIA_MEMBER_CHANGE_REMOVE, 1), "left to vote");
    refuses_one(store, change_of(ALMADIA_MEMBER_CHANGE_DEMOTE, 1), "left to vote");
    refuses_one(store, add(2, ""), "has no port");
    refuses_one(store, add(2, "nowhere"), "has no port");
    refuses_one(store, add(2, "127.0.0.1:0"), "port 0");
    refuses_one(store, add(2, "127.0.0.1:70000"), "70000");
    refuses_one(store, add(2, addresses[1]), "node 1 has the address");
    refuses_one(store, add(2, "192.0.2.1:7000"), "transport.insecure");
    refuses_one(store, add(2, endless), "at most 300 bytes");
    almadia_member_change replace = change_of(ALMADIA_MEMBER_CHANGE_REPLACE, 1);
    replace.by_id = 1;
    replace.address = addresses[2];
    refuses_one(store, replace, "the number 1 is used");
}

/* All or none, whatever the structs look like. */
static void an_array_is_refused_as_a_whole(almadia_store *store)
{
    almadia_member_change changes[2] = {add(2, addresses[2]), add(2, addresses[3])};
    refuses(store, changes, 2, "node 2 is a member already");
    changes[1] = add(3, addresses[2]);
    refuses(store, changes, 2, "node 2 has the address");
    changes[1].kind = 99;
    refuses(store, changes, 2, "almadia_member_change.kind is 99");
    changes[1] = add(3, addresses[3]);
    changes[1].struct_size += 8;
    refuses(store, changes, 2, "in element 1");
    changes[0].struct_size -= 1;
    refuses(store, changes, 2, "initialize it with ALMADIA_MEMBER_CHANGE_INIT");
    changes[0].struct_size += 4;
    refuses(store, changes, 2, "cannot lie one behind the other");
    changes[0].struct_size -= 3;
    refuses(store, changes, SIZE_MAX, "cannot lie one behind the other");
}

/* A member waits for those who are to come, and says so. */
static void a_change_waits_for_those_who_are_to_come(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_members *members = NULL;
    almadia_code code;
    bool is_said = false;
    while (version_of(store) == 0)
        sched_yield();

    CHECK(member_of(store, 2).role == ALMADIA_MEMBER_VOTER && member_of(store, 2).is_live == 0);
    CHECK(member_of(store, 2).last_heard_ms == UINT64_MAX);
    while (!is_said) {
        members = list_of(store);
        is_said = strstr(almadia_members_unsettled(members), "region 1: node ") != NULL;
        CHECK(strlen(almadia_members_unsettled(members)) > 0);
        almadia_members_free(members);
    }
    CHECK_CODE(ALMADIA_DEADLINE_BEFORE_START, almadia_members_change(store, NULL, 0, 100, NULL));
    almadia_member_change prefer = change_of(ALMADIA_MEMBER_CHANGE_PREFER, 1);
    while ((code = almadia_members_change(store, &prefer, 1, 500, &error)) == ALMADIA_DEADLINE_BEFORE_START)
        almadia_error_free(error);
    CHECK_CODE(ALMADIA_TIMEOUT, code);
    CHECK(strstr(almadia_error_message(error), "region 1") != NULL && almadia_error_maybe_applied(error));
    almadia_error_free(error);
}

static void one_becomes_three(const char *path, almadia_store *stores[NODES + 1])
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    almadia_completion *completion = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    size_t count = 0;
    const almadia_member_change changes[2] = {add(2, addresses[2]), add(3, addresses[3])};
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;
    done.user = &done;

    CHECK_OK(almadia_members_change_async(stores[1], changes, 2, HANG_MS, &done, &error));
    a_change_waits_for_those_who_are_to_come(stores[1]);
    for (int node = 2; node <= 3; node++)
        stores[node] = open_node(path, node);
    for (int node = 2; node <= 3; node++)
        CHECK_OK(almadia_store_wait_ready(stores[node], HANG_MS, &error));
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, HANG_MS, &error));
    CHECK(count == 1 && almadia_completion_user(completion) == &done);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(almadia_completion_index(completion) == 0 && almadia_completion_term(completion) == 0);
    almadia_completion_free(completion);
    almadia_cq_free(cq);

    CHECK(holds(stores[3], "before", "alone"));
    put_with_retries(stores[3], "after", "three");
    CHECK(holds(stores[1], "after", "three") && holds(stores[2], "after", "three"));
    for (uint64_t node = 1; node <= 3; node++) {
        /* Members connect by themselves. */
        while (!has_said_its_version(stores[3], node - 1))
            sched_yield();
        CHECK(member_of(stores[3], node).last_heard_ms < HANG_MS);
        CHECK(member_of(stores[3], node).role == ALMADIA_MEMBER_VOTER);
        CHECK(has_address(stores[3], node - 1, addresses[node]));
    }
}

static void roles_and_addresses_change(almadia_store *stores[NODES + 1])
{
    almadia_error *error = NULL;
    almadia_member_change change = change_of(ALMADIA_MEMBER_CHANGE_DEMOTE, 3);
    make(stores[2], &change);
    CHECK(member_of(stores[2], 3).role == ALMADIA_MEMBER_LEARNER);
    change = change_of(ALMADIA_MEMBER_CHANGE_PREFER, 3);
    change.is_preferred = 1;
    refuses_one(stores[2], change, "does not vote");

    change = change_of(ALMADIA_MEMBER_CHANGE_PROMOTE, 3);
    make(stores[2], &change);
    change = change_of(ALMADIA_MEMBER_CHANGE_PREFER, 2);
    change.is_preferred = 1;
    make(stores[2], &change);
    CHECK(member_of(stores[2], 3).role == ALMADIA_MEMBER_VOTER);
    CHECK(member_of(stores[2], 2).is_preferred == 1 && member_of(stores[2], 3).is_preferred == 0);
    change.is_preferred = 0;
    make(stores[2], &change);
    CHECK(member_of(stores[2], 2).is_preferred == 0);
    change = change_of(ALMADIA_MEMBER_CHANGE_DRAIN, 3);
    change.is_drained = 1;
    make(stores[2], &change);
    CHECK(member_of(stores[2], 3).is_drained == 1 && member_of(stores[2], 2).is_drained == 0);
    change.is_drained = 0;
    make(stores[2], &change);
    CHECK(member_of(stores[2], 3).is_drained == 0);

    /* A member that is down cannot say itself where it is. */
    CHECK_OK(almadia_store_shutdown(stores[3], HANG_MS, &error));
    almadia_store_free(stores[3]);
    stores[3] = NULL;
    change = change_of(ALMADIA_MEMBER_CHANGE_MOVE, 3);
    change.address = addresses[5];
    make(stores[2], &change);
    CHECK(has_address(stores[2], 2, addresses[5]));
}

static void a_lost_member_is_replaced(const char *path, almadia_store *stores[NODES + 1])
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_member_change replace = change_of(ALMADIA_MEMBER_CHANGE_REPLACE, 3);
    replace.by_id = 4;
    replace.address = addresses[4];
    done.callback = on_done;
    done.user = &seen;
    CHECK(stores[3] == NULL);

    CHECK_OK(almadia_members_change_async(stores[2], &replace, 1, HANG_MS, &done, &error));
    stores[4] = open_node(path, 4);
    CHECK_OK(almadia_store_wait_ready(stores[4], HANG_MS, &error));
    CHECK_CODE(ALMADIA_OK, next_answer());

    almadia_members *members = list_of(stores[2]);
    CHECK(almadia_members_count(members) == 3);
    almadia_members_free(members);
    CHECK(member_of(stores[2], 3).node_id == 0 && member_of(stores[2], 4).role == ALMADIA_MEMBER_VOTER);
    CHECK(holds(stores[4], "after", "three"));
    refuses_one(stores[2], add(3, addresses[3]), "numbers never come back");
}

static void a_member_hears_that_it_was_removed(almadia_store *stores[NODES + 1])
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    const almadia_member_change remove = change_of(ALMADIA_MEMBER_CHANGE_REMOVE, 2);
    done.callback = on_done;
    done.user = &seen;

    make(stores[1], &remove);
    pthread_mutex_lock(&seen.lock);
    while (seen.removed == 0)
        pthread_cond_wait(&seen.changed, &seen.lock);
    CHECK(seen.removed == 2);
    pthread_mutex_unlock(&seen.lock);

    CHECK_CODE(ALMADIA_REMOVED, almadia_put(stores[2], "k", 1, "v", 1, &error));
    CHECK(strstr(almadia_error_message(error), "removed") != NULL && !almadia_error_maybe_applied(error));
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_REMOVED, almadia_store_wait_ready(stores[2], HANG_MS, NULL));
    CHECK_CODE(ALMADIA_REMOVED, almadia_members_change(stores[2], NULL, 0, HANG_MS, NULL));
    CHECK_CODE(ALMADIA_REMOVED, almadia_members_change_async(stores[2], NULL, 0, HANG_MS, &done, NULL));
    almadia_members_free(list_of(stores[2]));
    put_with_retries(stores[4], "after", "removal");
    CHECK(holds(stores[1], "after", "removal"));
}

/* What a list lends stays where it is. */
static void a_list_outlives_its_store(almadia_store *stores[NODES + 1])
{
    almadia_member member = ALMADIA_MEMBER_INIT;
    almadia_members *members = list_of(stores[4]);
    for (int node = 1; node <= NODES; node++)
        almadia_store_free(stores[node]);

    CHECK(almadia_members_count(members) == 2 && almadia_members_version(members) > 0);
    CHECK_CODE(ALMADIA_OK, almadia_members_at(members, 1, &member));
    CHECK(member.node_id == 4 && strcmp(member.address, addresses[4]) == 0);
    almadia_members_free(members);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_store *stores[NODES + 1] = {NULL};
    choose_addresses();
    stores[1] = open_node(argv[1], 1);
    CHECK_OK(almadia_store_wait_leader(stores[1], HANG_MS, NULL, &error));
    put_with_retries(stores[1], "before", "alone");
    one_member_lists_itself(stores[1]);
    what_a_field_cannot_be_is_refused(stores[1]);
    what_a_kind_does_not_use_is_refused(stores[1]);
    what_contradicts_the_list_is_refused(stores[1]);
    an_array_is_refused_as_a_whole(stores[1]);
    one_becomes_three(argv[1], stores);
    roles_and_addresses_change(stores);
    a_lost_member_is_replaced(argv[1], stores);
    a_member_hears_that_it_was_removed(stores);
    a_list_outlives_its_store(stores);
    return 0;
}
