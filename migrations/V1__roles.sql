-- One role per service. Roles belong to the whole server, so they may be there already; a second database's
-- migration may be creating them at this very moment.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['fiatrails_gateway', 'fiatrails_callback', 'fiatrails_executor', 'fiatrails_ops'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO fiatrails_gateway, fiatrails_callback, fiatrails_executor, fiatrails_ops;
