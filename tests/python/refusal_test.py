"""What is refused, as a caller who is not Rust reads it: code, stable reason and fields of the rich
error."""

from __future__ import annotations

import unittest
import uuid
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import grpc
from plazo.common.v1 import common_pb2 as common
from plazo.history.v1 import history_service_pb2 as history
from plazo.ticketing.v1 import contact_pb2 as contact
from plazo.ticketing.v1 import feed_service_pb2 as feed
from plazo.ticketing.v1 import settings_pb2 as settings
from plazo.ticketing.v1 import ticket_service_pb2 as ticket_service

from cluster import Cluster
from conversation import ADMINISTRATOR_PERMISSIONS, Desk, policy
from plazo_client import Actor, Addresses, Refusal, refusal

# Nothing falls due while this runs.
SECONDS = Fraction(60)


class RefusalTest(unittest.TestCase):
    """All calls go to one cluster; each test has a tenant of its own."""

    cluster: Cluster
    addresses: Addresses
    tenants = 0

    @classmethod
    def setUpClass(cls) -> None:
        cluster = Cluster()
        cls.addClassCleanup(cluster.stop)
        cluster.start()
        cls.cluster = cluster
        cls.addresses = cluster.addresses

    def setUp(self) -> None:
        RefusalTest.tenants += 1
        self.desk = Desk(self.addresses, RefusalTest.tenants, policy(SECONDS))
        self.addCleanup(self.desk.administrator.close)
        self.settings = self.desk.administrator.settings
        self.tickets = self.desk.administrator.tickets

    def refused(
        self,
        call: Callable[..., Any],
        request: Any,
        code: grpc.StatusCode,
        reason: str,
        fields: set[str] | None = None,
    ) -> Refusal:
        """The call is refused with this code and reason, and names these fields and why each is
        wrong."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(request)
        refused = refusal(caught.exception)
        self.assertEqual((refused.code, refused.reason), (code, reason), refused)
        self.assertEqual(refused.domain, "plazo")
        self.assertTrue(refused.message)
        self.assertEqual(set(refused.violations), fields or set())
        self.assertTrue(all(refused.violations.values()), "each violation says why")
        return refused

    def in_force(self) -> settings.InactivityPolicy:
        """The policy that is in force."""
        request = settings.GetInactivityPolicyRequest(bot_id=self.desk.bot_id)
        return self.settings.GetInactivityPolicy(request).policy

    def refuse_policy(self, wrong: settings.InactivityPolicy, *fields: str) -> None:
        """The policy is refused for these fields, and the one in force stays."""
        before = self.in_force()
        request = settings.SetInactivityPolicyRequest(bot_id=self.desk.bot_id, policy=wrong)
        self.refused(
            self.settings.SetInactivityPolicy,
            request,
            grpc.StatusCode.INVALID_ARGUMENT,
            "FIELD_INVALID",
            set(fields),
        )
        self.assertEqual(self.in_force(), before)

    def test_a_token_says_who_calls_and_a_changed_one_is_refused(self) -> None:
        token = self.cluster.token(
            *("--tenant", str(RefusalTest.tenants), "--administrator", "1"),
            *("--permissions", "helpdesk:view"),
        )
        stranger = self.desk.administrator.acting_as(None)

        def list_bots(request: Any, token: str) -> Any:
            metadata = (("authorization", f"Bearer {token}"),)
            return stranger.settings.ListBots(request, metadata=metadata)

        request = settings.ListBotsRequest()
        by_metadata = self.settings.ListBots(request).bots
        self.assertEqual(list(list_bots(request, token).bots), list(by_metadata))
        message, signature = token.rsplit(".", 1)
        changed = f"{message}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        for bad, reason in ((changed, "SIGNATURE_WRONG"), (message, "TOKEN_MALFORMED")):
            self.refused(
                lambda request, bad=bad: list_bots(request, bad),
                request,
                grpc.StatusCode.UNAUTHENTICATED,
                reason,
            )

    def test_a_call_without_an_actor(self) -> None:
        nobody = self.desk.administrator.acting_as(None)
        request = settings.ListBotsRequest()
        code = grpc.StatusCode.UNAUTHENTICATED
        refused = self.refused(nobody.settings.ListBots, request, code, "ACTOR_MISSING")
        self.assertEqual(refused.info, {"metadata_key": "plazo-actor"})

    def test_a_call_without_the_permission(self) -> None:
        code, reason = grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"
        request = settings.CreateBotRequest(bot=settings.Bot(name="Mine"))
        self.refused(self.desk.agent.settings.CreateBot, request, code, reason)
        past = history.GetTicketHistoryRequest(ticket_id=1)
        self.refused(self.desk.agent.history.GetTicketHistory, past, code, reason)

    def test_the_feed_is_for_services_alone(self) -> None:
        def first(request: feed.StreamEventsRequest) -> feed.StreamEventsResponse:
            return next(self.desk.administrator.feed.StreamEvents(request, timeout=5))

        code = grpc.StatusCode.PERMISSION_DENIED
        self.refused(first, feed.StreamEventsRequest(), code, "PERMISSION_DENIED")

    def test_alerts_in_the_wrong_order(self) -> None:
        wrong = policy(SECONDS)
        wrong.alerts.first_alert.value = 21 * 60
        self.refuse_policy(wrong, "policy.alerts.first_alert")

    def test_all_that_is_wrong_is_told_at_once(self) -> None:
        wrong = policy(SECONDS)
        wrong.alerts.second_alert.value = 31 * 60
        wrong.warning.warn_after.CopyFrom(wrong.auto_close.close_after)
        wrong.auto_close.tags.append("")
        self.refuse_policy(
            wrong,
            "policy.alerts.second_alert",
            "policy.warning.warn_after",
            "policy.auto_close.tags[1]",
        )

    def test_ill_formed_lengths_of_time(self) -> None:
        for value, unit, field in (
            (0, common.TIME_UNIT_SECOND, ""),
            (-1, common.TIME_UNIT_MINUTE, ""),
            (401, common.TIME_UNIT_DAY, ""),
            (2**31 - 1, common.TIME_UNIT_DAY, ""),
            (30, common.TIME_UNIT_UNSPECIFIED, ".unit"),
            (30, 99, ".unit"),
        ):
            with self.subTest(value=value, unit=unit):
                wrong = policy(SECONDS)
                wrong.auto_close.close_after.CopyFrom(common.TimeValue(value=value, unit=unit))
                self.refuse_policy(wrong, f"policy.auto_close.close_after{field}")

    def test_a_warning_without_a_close(self) -> None:
        wrong = policy(SECONDS)
        wrong.ClearField("auto_close")
        self.refuse_policy(wrong, "policy.warning")

    def test_an_automatic_close_without_the_exit_route(self) -> None:
        bot = self.settings.CreateBot(settings.CreateBotRequest(bot=settings.Bot(name="Other"))).bot
        self.desk.bot_id = bot.bot_id
        self.refuse_policy(policy(SECONDS), "policy.auto_close")

    def test_removing_an_exit_route_that_is_needed(self) -> None:
        self.refused(
            self.settings.SetExitRoute,
            settings.SetExitRouteRequest(bot_id=self.desk.bot_id),
            grpc.StatusCode.FAILED_PRECONDITION,
            "EXIT_ROUTE_IN_USE",
        )
        bot = self.settings.GetBot(settings.GetBotRequest(bot_id=self.desk.bot_id)).bot
        self.assertTrue(bot.exit_route)

    def test_a_placeholder_that_does_not_exist(self) -> None:
        wrong = policy(SECONDS)
        wrong.warning.text = "{{contact_nane}}, are you there?"
        self.refuse_policy(wrong, "policy.warning.text")

    def test_the_unit_that_was_set_is_read_back(self) -> None:
        right = policy(SECONDS)
        right.alerts.second_alert.CopyFrom(common.TimeValue(value=25, unit=common.TIME_UNIT_MINUTE))
        self.desk.set_policy(right)
        self.assertEqual(self.in_force().alerts, right.alerts)

    def test_another_tenants_ticket_is_as_one_that_does_not_exist(self) -> None:
        self.desk.open_ticket()
        stranger = Actor(self.desk.tenant_id + 500, "administrator", 1, ADMINISTRATOR_PERMISSIONS)
        tickets = self.desk.administrator.acting_as(stranger).tickets
        code, reason = grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND"
        for ticket_id in (self.desk.ticket_id, 2**62):
            for call, request in (
                (tickets.GetTicket, ticket_service.GetTicketRequest),
                (tickets.CloseTicket, ticket_service.CloseTicketRequest),
                (tickets.ListTicketEvents, ticket_service.ListTicketEventsRequest),
            ):
                with self.subTest(request=request.DESCRIPTOR.name, ticket_id=ticket_id):
                    refused = self.refused(call, request(ticket_id=ticket_id), code, reason)
                    self.assertEqual(refused.message, f"no ticket {ticket_id}")

    def test_an_etag_that_is_old(self) -> None:
        self.desk.open_ticket()
        etag = self.desk.read_ticket().etag
        self.desk.writes("agent")
        request = ticket_service.CloseTicketRequest(ticket_id=self.desk.ticket_id, etag=etag)
        code = grpc.StatusCode.ABORTED
        self.refused(self.tickets.CloseTicket, request, code, "ETAG_MISMATCH")
        request.etag = self.desk.read_ticket().etag
        self.tickets.CloseTicket(request)
        request.etag = ""
        code = grpc.StatusCode.FAILED_PRECONDITION
        self.refused(self.tickets.CloseTicket, request, code, "TICKET_CLOSED")

    def test_a_request_id_repeats_its_answer_and_serves_no_other_request(self) -> None:
        self.desk.open_ticket()
        request = ticket_service.RecordMessageRequest(
            ticket_id=self.desk.ticket_id, text="once", request_id=str(uuid.uuid4())
        )
        write = self.desk.agent.tickets.RecordMessage
        self.assertEqual(write(request), write(request))
        request.text = "twice"
        code, fields = grpc.StatusCode.INVALID_ARGUMENT, {"request_id"}
        self.refused(write, request, code, "REQUEST_ID_REUSED", fields)
        request.request_id = "not a UUID"
        self.refused(write, request, code, "FIELD_INVALID", fields)
        listing = ticket_service.ListMessagesRequest(ticket_id=self.desk.ticket_id)
        messages = self.tickets.ListMessages(listing).messages
        self.assertEqual([message.text for message in messages], ["once"])

    def test_messages_that_say_nothing_or_come_from_nobody(self) -> None:
        self.desk.open_ticket()
        ticket_id = self.desk.ticket_id
        code, reason = grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"
        empty = ticket_service.RecordMessageRequest(ticket_id=ticket_id)
        self.refused(self.desk.agent.tickets.RecordMessage, empty, code, reason, {"text"})
        anonymous = ticket_service.RecordMessageRequest(ticket_id=ticket_id, text="boo")
        self.refused(self.tickets.RecordMessage, anonymous, code, reason, {"author"})
        self.assertEqual(len(self.desk.events()), 2, "the opening, and the automation's pause")

    def test_a_contact_that_exists(self) -> None:
        identity = common.ChannelIdentity(
            channel=common.CHANNEL_LOG, address=f"customer-{self.desk.tenant_id}"
        )
        request = contact.CreateContactRequest(
            contact=contact.Contact(name="Ana again", channel_identity=identity)
        )
        create = self.desk.administrator.contacts.CreateContact
        refused = self.refused(create, request, grpc.StatusCode.ALREADY_EXISTS, "CONTACT_EXISTS")
        self.assertEqual(refused.info, {"contact_id": str(self.desk.contact_id)})

    def test_a_phone_number_of_no_country(self) -> None:
        identity = common.ChannelIdentity(channel=common.CHANNEL_LOG, address="new")
        request = contact.CreateContactRequest(
            contact=contact.Contact(name="Eva", phone="+999123", channel_identity=identity)
        )
        create = self.desk.administrator.contacts.CreateContact
        code, fields = grpc.StatusCode.INVALID_ARGUMENT, {"contact.phone"}
        self.refused(create, request, code, "FIELD_INVALID", fields)

    def test_a_bad_page_token(self) -> None:
        request = ticket_service.ListTicketsRequest(page_token="page 2")
        code, fields = grpc.StatusCode.INVALID_ARGUMENT, {"page_token"}
        self.refused(self.tickets.ListTickets, request, code, "PAGE_TOKEN_INVALID", fields)

    def test_a_search_for_nothing(self) -> None:
        request = history.SearchContactsRequest(query="?!")
        code, fields = grpc.StatusCode.INVALID_ARGUMENT, {"query"}
        search = self.desk.administrator.history.SearchContacts
        self.refused(search, request, code, "FIELD_INVALID", fields)

    def test_the_history_of_a_bot_that_is_off(self) -> None:
        self.desk.open_ticket()
        request = history.GetTicketHistoryRequest(ticket_id=self.desk.ticket_id)
        known = self.desk.administrator.history.GetTicketHistory
        self.refused(known, request, grpc.StatusCode.NOT_FOUND, "TICKET_NOT_FOUND")

    def test_a_hold_without_a_reason_or_longer_than_the_bot_allows(self) -> None:
        self.desk.open_ticket()
        hold = self.desk.agent.tickets.HoldTicket
        code, reason = grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"
        request = ticket_service.HoldTicketRequest(ticket_id=self.desk.ticket_id)
        self.refused(hold, request, code, reason, {"reason"})
        request.reason = "a check"
        request.max_length.CopyFrom(common.TimeValue(value=25, unit=common.TIME_UNIT_HOUR))
        self.refused(hold, request, code, reason, {"max_length"})
        self.assertFalse(self.desk.read_ticket().HasField("hold"))

    def test_a_resume_without_a_hold(self) -> None:
        self.desk.open_ticket()
        request = ticket_service.ResumeTicketRequest(ticket_id=self.desk.ticket_id)
        code = grpc.StatusCode.FAILED_PRECONDITION
        resume = self.desk.agent.tickets.ResumeTicket
        self.refused(resume, request, code, "TICKET_NOT_ON_HOLD")

    def test_a_transfer_to_a_queue_of_another_bot(self) -> None:
        self.desk.open_ticket()
        bot = self.settings.CreateBot(settings.CreateBotRequest(bot=settings.Bot(name="Other"))).bot
        foreign = settings.CreateQueueRequest(
            queue=settings.Queue(bot_id=bot.bot_id, name="Elsewhere")
        )
        queue_id = self.settings.CreateQueue(foreign).queue.queue_id
        request = ticket_service.TransferTicketRequest(
            ticket_id=self.desk.ticket_id, queue_id=queue_id
        )
        code, fields = grpc.StatusCode.INVALID_ARGUMENT, {"queue_id"}
        transfer = self.desk.agent.tickets.TransferTicket
        self.refused(transfer, request, code, "FIELD_INVALID", fields)

    def test_what_needs_an_open_ticket_or_one_that_is_not_unlinked(self) -> None:
        self.desk.open_ticket()
        ticket_id = self.desk.ticket_id
        unlink = ticket_service.UnlinkTicketRequest(ticket_id=ticket_id)
        self.assertTrue(self.tickets.UnlinkTicket(unlink).ticket.unlinked)
        code = grpc.StatusCode.FAILED_PRECONDITION
        self.refused(self.tickets.UnlinkTicket, unlink, code, "TICKET_UNLINKED")
        held = ticket_service.HoldTicketRequest(ticket_id=ticket_id, reason="a check")
        self.refused(self.tickets.HoldTicket, held, code, "TICKET_CLOSED")
        moved = ticket_service.TransferTicketRequest(
            ticket_id=ticket_id, queue_id=self.desk.queue_id
        )
        self.refused(self.tickets.TransferTicket, moved, code, "TICKET_CLOSED")
        paused = ticket_service.PauseAutomationRequest(ticket_id=ticket_id, until_completed=True)
        self.refused(self.tickets.PauseAutomation, paused, code, "TICKET_CLOSED")

    def test_set_open_needs_its_own_permission(self) -> None:
        self.desk.open_ticket()
        request = ticket_service.SetTicketOpenRequest(ticket_id=self.desk.ticket_id)
        code = grpc.StatusCode.PERMISSION_DENIED
        set_open = self.desk.agent.tickets.SetTicketOpen
        self.refused(set_open, request, code, "PERMISSION_DENIED")

    def test_a_batch_answers_ticket_by_ticket(self) -> None:
        self.desk.open_ticket()
        unknown = 2**62
        request = ticket_service.TagTicketsRequest(
            ticket_ids=[self.desk.ticket_id, unknown], add_tags=["late"]
        )
        tagged, missing = self.tickets.TagTickets(request).results
        self.assertEqual(list(tagged.ticket.tags), ["late"])
        self.assertEqual((missing.ticket_id, missing.error.reason), (unknown, "TICKET_NOT_FOUND"))
        request.remove_tags.append("late")
        code, reason = grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"
        self.refused(self.tickets.TagTickets, request, code, reason, {"remove_tags[0]"})

    def test_business_time_without_a_calendar(self) -> None:
        wrong = policy(SECONDS)
        wrong.business_time = True
        before = self.in_force()
        request = settings.SetInactivityPolicyRequest(bot_id=self.desk.bot_id, policy=wrong)
        with self.assertRaises(grpc.RpcError) as caught:
            self.settings.SetInactivityPolicy(request)
        refused = refusal(caught.exception)
        self.assertEqual(refused.code, grpc.StatusCode.INVALID_ARGUMENT, "it has no calendar")
        self.assertEqual(self.in_force(), before)

    def test_bytes_that_are_no_text(self) -> None:
        create = self.desk.administrator.ticketing_channel.unary_unary(
            "/plazo.ticketing.v1.SettingsService/CreateBot", request_serializer=bytes
        )
        # CreateBotRequest.bot (1) with Bot.name (2) of two bytes that are no UTF-8.
        wrong = bytes([0x0A, 0x04, 0x12, 0x02, 0xFF, 0xFE])
        code = grpc.StatusCode.INVALID_ARGUMENT
        self.refused(create, wrong, code, "MESSAGE_MALFORMED", {"bot.name"})
        self.refused(create, b"\xff", code, "MESSAGE_MALFORMED", {"request"})

    def test_a_message_over_the_limit(self) -> None:
        request = settings.CreateBotRequest(bot=settings.Bot(name="x" * (5 << 20)))
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        self.refused(self.settings.CreateBot, request, code, "MESSAGE_TOO_LARGE")


if __name__ == "__main__":
    unittest.main()
